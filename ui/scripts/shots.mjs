// Pictures of the page for docs/page.md: `npm run shots`, once the page is built. Each view, light and dark, wide and narrow.
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { NARROW, WIDE, launch, open } from './browser.mjs'
import { KEYS, busy, pause, serve } from './served.mjs'

const FOLDER = process.env.SHOTS ?? new URL('../../docs/page', import.meta.url).pathname
const only = process.argv.slice(2)

/** The machine room is long: its pictures are higher than a window. */
const HEIGHTS = { room: { wide: 1540, narrow: 1500 } }

/** Views that are shown while others use the server. */
const BUSY = new Set(['room', 'models'])

/** How each view is brought into the state that the picture shows. */
const VIEWS = {
  chat: async (page) => {
    for (const text of ['What is the capital of France?', 'Tell me a short story.']) {
      await page.fill('#composer', text)
      await page.press('#composer', 'Enter')
      await page.locator('.message-user', { hasText: text }).last().waitFor()
      const stop = page.getByRole('button', { name: 'Stop the answer' })
      await stop.waitFor({ timeout: 5000 }).catch(() => undefined) // a short answer may be over already
      await stop.waitFor({ state: 'detached', timeout: 60_000 })
    }
  },
  settings: async () => pause(500),
  room: async (page) => {
    await page.locator('.lane').first().waitFor()
    await pause(25_000) // the chart of steps fills
  },
  models: async (page) => {
    await page.getByRole('button', { name: /takes of memory/ }).click()
    await page.locator('.fit-parts').waitFor()
    await pause(500)
  },
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
let stop
try {
  for (const [view, prepare] of Object.entries(VIEWS)) {
    if (only.length && !only.includes(view)) continue
    if (BUSY.has(view) && !stop) {
      stop = busy(server.url, 10, 260)
      await pause(20_000)
    }
    for (const [theme, size, viewport] of VARIANTS) {
      const page = await open(browser, `${server.url}#/${view}`, {
        theme,
        viewport: { ...viewport, height: HEIGHTS[view]?.[size] ?? viewport.height },
        key: KEYS.ops,
      })
      await prepare(page)
      const path = `${FOLDER}/${view}-${theme}-${size}.png`
      await page.screenshot({ path })
      await page.context().close()
      shrink(path)
      console.log(path)
    }
  }
} finally {
  await stop?.()
  await browser.close()
  await server.stop()
}

/** Keep 96 colours, where pngquant is there: pictures of pages need no more. */
function shrink(path) {
  spawnSync('pngquant', ['96', '--force', '--skip-if-larger', '--output', path, path])
}
