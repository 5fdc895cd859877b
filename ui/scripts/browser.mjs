// Chromium for scripts: the system's own, driven by playwright-core.
import { chromium } from 'playwright-core'

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']

/** A browser. `CHROMIUM` names its file; by default Debian's place. */
export async function launch() {
  const { existsSync } = await import('node:fs')
  const executablePath = process.env.CHROMIUM ?? PATHS.find((path) => existsSync(path))
  if (!executablePath) throw new Error('there is no Chromium: install it, or set CHROMIUM')
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'] })
}

export const WIDE = { width: 1280, height: 860 }
export const NARROW = { width: 390, height: 844 }

/** A page of its own context: nothing is kept from others. */
export async function open(browser, url, { theme = 'light', viewport = WIDE, key = '', motion = 'reduce' } = {}) {
  const context = await browser.newContext({ viewport, colorScheme: theme, reducedMotion: motion, locale: 'en-GB' })
  if (key) {
    await context.addInitScript((value) => localStorage.setItem('llamapack.key', value), key)
  }
  const page = await context.newPage()
  await page.goto(url)
  return page
}
