// Pictures of the page for docs/page.md: `npm run shots`, once the page is built. Each view, light and dark, wide and narrow.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { NARROW, WIDE, launch, open } from './browser.mjs'
import { KEYS, busy, pause, serve } from './served.mjs'

const FOLDER = process.env.SHOTS ?? new URL('../../docs/page', import.meta.url).pathname
const only = process.argv.slice(2)

/** How each view is brought into the state that the picture shows. */
const VIEWS = {
  chat: async (page) => {
    const box = page.getByRole('textbox', { name: 'Message' })
    if (!(await box.count())) return
    await box.fill('What is the capital of France?')
    await box.press('Enter')
    await page.getByText('tok/s').first().waitFor({ timeout: 30_000 }).catch(() => undefined)
  },
  room: async (page) => {
    await page.locator('.lane').first().waitFor()
    await pause(4000)
  },
  models: async (page) => {
    await page.locator('.model-card').first().waitFor()
    await pause(500)
  },
  settings: async () => pause(500),
}

const VARIANTS = [
  ['light', 'wide', WIDE],
  ['dark', 'wide', WIDE],
  ['light', 'narrow', NARROW],
  ['dark', 'narrow', NARROW],
]

mkdirSync(FOLDER, { recursive: true })
const server = await serve('-np', '8', '-c', '4096', '--alias', 'demo')
const browser = await launch()
const stop = busy(server.url, 10, 260)
try {
  await pause(3000)
  for (const [view, prepare] of Object.entries(VIEWS)) {
    if (only.length && !only.includes(view)) continue
    for (const [theme, size, viewport] of VARIANTS) {
      const page = await open(browser, `${server.url}#/${view}`, { theme, viewport, key: KEYS.ops })
      await prepare(page)
      const path = `${FOLDER}/${view}-${theme}-${size}.png`
      await page.screenshot({ path })
      await page.context().close()
      shrink(path)
      console.log(path)
    }
  }
} finally {
  await stop()
  await browser.close()
  await server.stop()
}

/** Keep 96 colours, where pngquant is there: pictures of pages need no more. */
function shrink(path) {
  spawnSync('pngquant', ['96', '--force', '--skip-if-larger', '--output', path, path])
}
