// The machine room and the models view, scenario by scenario.
import assert from 'node:assert/strict'
import { serious } from '../scripts/axe.mjs'
import { NARROW, WIDE } from '../scripts/browser.mjs'

const REFUSED = [/console: Failed to load resource/]

/** The key is in the browser before the page is there. */
async function withKey(context, key) {
  await context.addInitScript((value) => localStorage.setItem('llamapack.key', value), key)
}

async function nothingSerious(page) {
  const findings = await serious(page)
  assert.deepEqual(findings, [], findings.join('\n'))
}

const room = (url) => `${url}#/room`

export const roomScenarios = {
  async room_at_work({ page, context, url, options }) {
    await withKey(context, options.key)
    await page.goto(room(url))
    await page.locator('.lane-answer, .lane-prompt').first().waitFor()
    const names = await page.locator('.lane-who strong').allTextContents()
    assert.ok(names.length > 0 && names.every((name) => options.names.includes(name)), names.join())
    await page.locator('.icicle-box', { hasText: options.text }).first().waitFor()
    await page.locator('.request-cache', { hasText: 'cache' }).first().waitFor()
    await page.getByText('ms a step').waitFor() // below the window: it is drawn all the same
    const shown = await page.locator('.room-figures').textContent()
    await page.waitForFunction((text) => document.querySelector('.room-figures')?.textContent !== text, shown)
    // Requests out of sight are not drawn; they are as new as the rest once they come into sight.
    await page.setViewportSize({ width: WIDE.width, height: 400 })
    const drawn = await page.evaluate(async () => {
      const lines = [...document.querySelectorAll('.request')].filter((line) => line.getBoundingClientRect().top > innerHeight)
      await new Promise((resolve) => setTimeout(resolve, 1000))
      let changes = 0
      const observer = new MutationObserver((records) => (changes += records.length))
      for (const line of lines) observer.observe(line, { subtree: true, childList: true, characterData: true, attributes: true })
      await new Promise((resolve) => setTimeout(resolve, 3000))
      observer.disconnect()
      return { lines: lines.length, changes }
    })
    assert.ok(drawn.lines > 0)
    assert.equal(drawn.changes, 0, 'what nobody sees is drawn')
    await page.locator('.request').first().scrollIntoViewIfNeeded()
    const seen = await page.locator('.requests').textContent()
    await page.waitForFunction((text) => document.querySelector('.requests').textContent !== text, seen)
    await page.locator('.room-figures').scrollIntoViewIfNeeded()
    await page.setViewportSize(WIDE)
    // Between two drawings the browser rests: an animation would take the server's CPU.
    const moving = await page.evaluate(async () => {
      const found = []
      for (let turn = 0; turn < 30; turn++) {
        await new Promise((resolve) => setTimeout(resolve, 50))
        const targets = document.getAnimations().map((one) => one.effect.target)
        found.push(...targets.filter((target) => !target.closest('.icicle-moves')).map((target) => target.className))
      }
      return [...new Set(found)]
    })
    assert.deepEqual(moving, [])
  },

  async room_looks({ page, context, url, options, allowed }) {
    allowed.errors.push(/Failed to load resource/)
    await withKey(context, options.key)
    for (const theme of ['light', 'dark']) {
      for (const viewport of [WIDE, NARROW]) {
        await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
        await page.setViewportSize(viewport)
        await page.goto(room(url))
        await page.locator('.request').first().waitFor()
        await page.locator('.icicle-box').first().waitFor()
        await nothingSerious(page)
        const isWider = await page.evaluate(() => document.querySelector('.room').scrollWidth > innerWidth)
        assert.equal(isWider, false, 'the view is wider than the window')
        await page.getByRole('button', { name: 'As a list' }).click()
        await nothingSerious(page)
        for (const [view, sign] of [['models', '.model-card'], ['settings', 'h1'], ['chat', '#composer']]) {
          await page.goto(`${url}#/${view}`)
          await page.locator(sign).first().waitFor()
          await nothingSerious(page)
        }
      }
    }
  },

  async room_pause({ page, context, url, options }) {
    await withKey(context, options.key)
    await page.goto(room(url))
    await page.locator('.lane-answer').first().waitFor()
    await page.keyboard.press('Tab')
    await page.getByRole('button', { name: 'Pause' }).focus()
    await page.keyboard.press('Enter')
    const held = await page.locator('.room-content').textContent()
    await page.waitForTimeout(1200)
    assert.equal(await page.locator('.room-content').textContent(), held)
    await page.getByRole('button', { name: 'Go on' }).click()
    await page.waitForFunction((text) => document.querySelector('.room-content')?.textContent !== text, held)
  },

  async room_closes_its_stream({ page, context, url, options }) {
    await withKey(context, options.key)
    await page.goto(room(url))
    await page.locator('.lane').first().waitFor()
    const closed = page.waitForEvent('requestfailed', (request) => request.url().endsWith('/v1/events'))
    await page.evaluate(() => (location.hash = '#/settings'))
    await closed
  },

  async room_wants_rights({ page, url, options, allowed }) {
    allowed.errors.push(...REFUSED)
    await page.goto(room(url))
    await page.getByLabel('API key').fill(options.weak)
    await page.getByRole('button', { name: 'Use this key' }).click()
    await page.getByText('This key may not watch the server').waitFor()
    await nothingSerious(page)
    await page.getByRole('button', { name: 'Use another key' }).click()
    await page.getByLabel('API key').fill(options.key)
    await page.getByRole('button', { name: 'Use this key' }).click()
    await page.locator('.lane').first().waitFor()
  },

  async room_is_off({ page, url, allowed }) {
    allowed.errors.push(...REFUSED)
    await page.goto(room(url))
    await page.getByText('The machine room is turned off').waitFor()
    await nothingSerious(page)
  },

  async room_lost({ page, url, outside, allowed }) {
    allowed.errors.push(/console: Failed to load resource/, /net::ERR/)
    await page.goto(room(url))
    await page.getByText('Nothing has been asked yet.').waitFor()
    await nothingSerious(page)
    await outside('stop')
    await page.getByText('The connection is lost').waitFor()
    await nothingSerious(page)
    await outside('start')
    await page.getByText('Live').waitFor()
  },

  async models_of_many({ page, url, options, allowed }) {
    allowed.errors.push(...REFUSED)
    await page.goto(`${url}#/models`)
    const model = page.locator('.model-card', { hasText: options.model })
    await model.getByText('Not loaded').waitFor()
    await page.goto(room(url))
    await page.getByText('No model is loaded').waitFor()
    await nothingSerious(page)
    await page.getByRole('link', { name: 'To the models' }).click()
    await page.getByRole('button', { name: `Load ${options.model}` }).click()
    await model.getByText('Loaded', { exact: true }).waitFor()
    await model.getByText('RAM').waitFor()
    await page.goto(room(url))
    await page.locator('.lane').first().waitFor()
    await page.goto(`${url}#/models`)
    await page.getByLabel('Name').fill('somebody/something')
    await page.getByRole('button', { name: 'Pull' }).click()
    await page.getByText('--pull-hosts').waitFor()
    await nothingSerious(page)
    await page.getByRole('button', { name: `What ${options.model} takes of memory` }).click()
    const plan = page.getByRole('group', { name: `Memory of ${options.model}` })
    await plan.getByText('RAM: fits.').waitFor()
    await plan.getByText('KV cache').waitFor()
    const cells = plan.locator('.fit-parts div', { hasText: 'KV cache' }).locator('dd')
    const size = await cells.textContent()
    await plan.getByLabel('Tokens of all slots').fill('8192')
    await plan.getByRole('button', { name: 'Ask again' }).click()
    await plan.getByText('up to 8,192 tokens').or(plan.getByText('up to 2,048 tokens')).waitFor()
    assert.notEqual(await cells.textContent(), size)
    await nothingSerious(page)
    await plan.getByLabel('Tokens of all slots').fill('many')
    await plan.getByRole('button', { name: 'Ask again' }).click()
    await plan.getByText('must be a whole number').waitFor()
    await page.getByRole('button', { name: `Unload ${options.model}` }).click()
    await model.getByText('Not loaded').waitFor()
  },

  async cancel_a_download({ page, url, options }) {
    await page.goto(`${url}#/models`)
    await page.getByLabel('Name').fill(options.model)
    await page.getByRole('button', { name: 'Pull' }).click()
    const download = page.locator('.download', { hasText: options.model })
    await download.getByRole('progressbar').waitFor()
    await nothingSerious(page)
    await page.getByRole('button', { name: `Cancel the download of ${options.model}` }).click()
    await download.getByText('Cancelled', { exact: true }).waitFor()
    assert.equal(await download.getByRole('button').count(), 0)
  },

  async models_of_one({ page, context, url, options }) {
    await withKey(context, options.key)
    await page.goto(`${url}#/models`)
    const model = page.locator('.model-card', { hasText: options.model })
    await model.getByText('Loaded', { exact: true }).waitFor()
    await page.getByText('started for one model').waitFor()
    assert.equal(await page.getByRole('button', { name: 'Pull' }).count(), 0)
  },
}
