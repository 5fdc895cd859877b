// Small values that the browser keeps for this server's page.

const PREFIX = 'llamapack.'

/** The kept value; "" where there is none, or the browser keeps nothing. */
export function read(name: string): string {
  try {
    return localStorage.getItem(PREFIX + name) ?? ''
  } catch {
    return ''
  }
}

/** Keep a value; "" forgets it. */
export function write(name: string, value: string): void {
  try {
    if (value) localStorage.setItem(PREFIX + name, value)
    else localStorage.removeItem(PREFIX + name)
  } catch {
    // A browser that keeps nothing: the value lasts as long as the page.
  }
}
