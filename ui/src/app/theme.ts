// Light, dark, or as the system is. `public/assets/theme.js` applies the choice before the page is drawn.
import { effect, signal } from '@preact/signals'
import { read, write } from '../store/local'

export type Theme = 'system' | 'light' | 'dark'
const THEMES: readonly Theme[] = ['system', 'light', 'dark']

/** The user's choice. */
export const theme = signal<Theme>(THEMES.find((known) => known === read('theme')) ?? 'system')

/** Apply the choice, now and whenever it changes. */
export function followTheme(): void {
  effect(() => {
    write('theme', theme.value === 'system' ? '' : theme.value)
    if (theme.value === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme.value
  })
}
