// Before anything is drawn: the theme that the user chose, so that no other one flashes up.
try {
  const theme = localStorage.getItem('llamapack.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // A browser that keeps nothing follows the system.
}
