// The machine room and the models view in a real browser: `node --test e2e/room.e2e.mjs`.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { serious } from '../scripts/axe.mjs'
import { NARROW, WIDE, launch, open } from '../scripts/browser.mjs'
import { KEYS, busy, serve } from '../scripts/served.mjs'

const SECONDS = 1000
const PATIENCE = { timeout: 60 * SECONDS }

let browser
before(async () => {
  browser = await launch()
})
after(() => browser?.close())

const nothing = (findings) => assert.deepEqual(findings, [], findings.join('\n'))

describe('a server at work', () => {
  let server
  let stop
  before(async () => {
    server = await serve('-np', '4', '-c', '2048', '--alias', 'demo')
    stop = busy(server.url, 6, 200)
  })
  after(async () => {
    await stop?.()
    await server?.stop()
  })
  const room = (options = {}) => open(browser, `${server.url}#/room`, { key: KEYS.ops, ...options })

  test('slots, the cache and the last requests are shown, and move', async () => {
    const page = await room()
    await page.locator('.lane-answer, .lane-prompt').first().waitFor(PATIENCE)
    const names = await page.locator('.lane-who strong').allTextContents()
    assert.ok(names.every((name) => ['alice', 'bob', 'carol'].includes(name)), names.join())
    await page.locator('.icicle-box').nth(2).waitFor(PATIENCE)
    await page.locator('.icicle-box', { hasText: 'You' }).first().waitFor(PATIENCE)
    await page.locator('.request-cache', { hasText: 'tokens' }).first().waitFor(PATIENCE)
    await page.getByText('ms a step').waitFor(PATIENCE)
    const before = await page.locator('.requests .request').first().textContent()
    await page.waitForFunction(
      (text) => document.querySelector('.requests .request')?.textContent !== text,
      before,
      PATIENCE,
    )
    await page.context().close()
  })

  for (const theme of ['light', 'dark']) {
    for (const [size, viewport] of [['wide', WIDE], ['narrow', NARROW]]) {
      test(`axe finds nothing serious: ${theme}, ${size}`, async () => {
        const page = await room({ theme, viewport })
        await page.locator('.lane').first().waitFor(PATIENCE)
        await page.locator('.request').first().waitFor(PATIENCE)
        await page.locator('.icicle-box').first().waitFor(PATIENCE)
        nothing(await serious(page))
        await page.getByRole('button', { name: 'As a list' }).click()
        nothing(await serious(page))
        const isWider = await page.evaluate(() => document.querySelector('.room').scrollWidth > innerWidth)
        assert.equal(isWider, false, 'the view is wider than the window')
        await page.goto(`${server.url}#/models`)
        await page.locator('.model').first().waitFor(PATIENCE)
        nothing(await serious(page))
        await page.context().close()
      })
    }
  }

  test('a pause holds everything, and going on shows what is new', async () => {
    const page = await room()
    await page.locator('.lane-answer').first().waitFor(PATIENCE)
    await page.getByRole('button', { name: 'Pause' }).click()
    const text = () => page.locator('.room-figures').textContent()
    const held = await text()
    await page.waitForTimeout(1500)
    assert.equal(await text(), held)
    await page.getByRole('button', { name: 'Go on' }).click()
    await page.getByText('Live').waitFor(PATIENCE)
    await page.context().close()
  })

  test('the stream is closed when nobody looks', async () => {
    const page = await room()
    await page.locator('.lane').first().waitFor(PATIENCE)
    const closed = page.waitForEvent('requestfailed', (request) => request.url().endsWith('/v1/events'))
    await page.evaluate(() => (location.hash = '#/settings'))
    await closed
    await page.context().close()
  })

  test('a key without the rights is told which key is needed', async () => {
    const page = await room({ key: KEYS.alice })
    await page.getByText('This key may not watch the server').waitFor(PATIENCE)
    nothing(await serious(page))
    await page.getByRole('button', { name: 'Use another key' }).click()
    await page.getByLabel('API key').fill(KEYS.ops)
    await page.getByRole('button', { name: 'Use this key' }).click()
    await page.locator('.lane').first().waitFor(PATIENCE)
    await page.context().close()
  })

  test('the models view tells the state of the one model', async () => {
    const page = await open(browser, `${server.url}#/models`, { key: KEYS.ops })
    const model = page.locator('.model', { hasText: 'demo' })
    await model.getByText('Loaded').waitFor(PATIENCE)
    await page.getByText('started for one model').waitFor(PATIENCE)
    await page.context().close()
  })
})

describe('a server that goes', () => {
  test('the connection is lost, and the page says so and comes back', async () => {
    const first = await serve('--alias', 'demo')
    const port = new URL(first.url).port
    const page = await open(browser, `${first.url}#/room`, { key: KEYS.ops })
    await page.getByText('Nothing has been asked yet.').waitFor(PATIENCE)
    nothing(await serious(page))
    await first.stop()
    await page.getByText('The connection is lost').waitFor(PATIENCE)
    nothing(await serious(page))
    const second = await serve('--alias', 'demo', '--port', port)
    await page.getByRole('button', { name: 'Try now' }).click().catch(() => undefined)
    await page.getByText('Live').waitFor(PATIENCE)
    await page.context().close()
    await second.stop()
  })
})

describe('a server without the room', () => {
  test('--no-slots is named', async () => {
    const server = await serve('--no-slots')
    const page = await open(browser, `${server.url}#/room`, { key: KEYS.ops })
    await page.getByText('The machine room is turned off').waitFor(PATIENCE)
    await page.context().close()
    await server.stop()
  })
})
