// What a user does and sees, scenario by scenario.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { serious } from '../scripts/axe.mjs'

const NETWORK = [/console: Failed to load resource/]

/** Waits until the page is idle: no answer runs in the shown conversation. */
async function settled(page) {
  await page.getByRole('button', { name: 'Stop the answer' }).waitFor({ state: 'detached' })
}

async function open(page, url) {
  await page.goto(url)
  await page.locator('#composer').waitFor()
}

async function ask(page, text) {
  const before = await answers(page).count()
  await page.fill('#composer', text)
  await page.press('#composer', 'Enter')
  await answers(page).nth(before).waitFor()
  await settled(page)
}

const answers = (page) => page.locator('.message-assistant')
const lastAnswer = (page) => answers(page).last().locator('> .markdown')

async function configure(page, change) {
  await page.getByRole('button', { name: 'Settings of this conversation' }).first().click()
  const panel = page.getByRole('complementary', { name: 'Settings of this conversation' })
  await change(panel)
  await panel.getByRole('button', { name: 'Close' }).click()
}

/** Answers that don't depend on luck. */
async function withoutChance(page) {
  await configure(page, async (panel) => {
    await panel.getByLabel('Temperature').fill('0')
    await panel.getByLabel('Seed').fill('1')
  })
}

/** Waits until what is shown is kept, which happens after it is shown. */
async function kept(page, count) {
  await page.waitForFunction(async (wanted) => {
    const database = await new Promise((resolve, reject) => {
      const opening = indexedDB.open('llamapack')
      opening.onsuccess = () => resolve(opening.result)
      opening.onerror = () => reject(opening.error)
    })
    const all = await new Promise((resolve) => {
      const reading = database.transaction('messages').objectStore('messages').getAll()
      reading.onsuccess = () => resolve(reading.result)
    })
    database.close()
    return all.length >= wanted && all.every((message) => message.role !== 'assistant' || message.ending !== '')
  }, count)
}

export const scenarios = {
  async first_minute({ page, url }) {
    await open(page, url)
    for (const [button, word] of [['capital of France', 'Paris'], ['27 + 15', '42'], ['short story', 'The end']]) {
      await page.getByRole('button', { name: new RegExp(button.replace('+', '\\+')) }).waitFor()
      await withoutChance(page)
      await page.getByRole('button', { name: new RegExp(button.replace('+', '\\+')) }).click()
      await answers(page).first().waitFor()
      await settled(page)
      assert.match(await lastAnswer(page).innerText(), new RegExp(word))
      await page.getByRole('button', { name: 'New chat' }).click()
    }
    assert.equal(await page.locator('.list-entry').count(), 3)
  },

  async stream({ page, url }) {
    await open(page, url)
    const lengths = []
    await page.exposeFunction('noteLength', (length) => lengths.push(length))
    await page.evaluate(() => {
      new MutationObserver(() => {
        const shown = document.querySelector('.message-assistant > .markdown')
        if (shown) window.noteLength(shown.textContent.length)
      }).observe(document.body, { childList: true, subtree: true, characterData: true })
    })
    await ask(page, 'Tell me a long story.')
    const text = await lastAnswer(page).innerText()
    assert.ok(text.length > 20, text)
    assert.ok(new Set(lengths).size > 3, `the answer came in ${new Set(lengths).size} pieces`)
    const stats = await page.locator('.stats').innerText()
    assert.match(stats, /tok\/s/)
    assert.match(stats, /\d+ tokens/)
    assert.match(stats, /% cached/)
    assert.match(stats, /first token/)
  },

  async edit_and_branch({ page, url }) {
    await open(page, url)
    await withoutChance(page)
    await ask(page, 'What is the capital of France?')
    assert.match(await lastAnswer(page).innerText(), /Paris/)
    await page.locator('.message-user').hover()
    await page.locator('.message-user').getByRole('button', { name: 'Edit' }).click()
    await page.getByLabel('Edit the message').fill('What is the capital of Italy?')
    await page.keyboard.press('Enter')
    await answers(page).filter({ hasText: 'Rome' }).waitFor()
    await settled(page)
    assert.equal(await page.locator('.message').count(), 2)
    const branches = page.locator('.message-user .branches')
    assert.equal(await branches.innerText(), '2/2')
    await branches.getByRole('button', { name: 'Previous version' }).click()
    await answers(page).filter({ hasText: 'Paris' }).waitFor()
    assert.match(await page.locator('.bubble').innerText(), /France/)
    // Another answer to the same question is a branch too.
    await answers(page).getByRole('button', { name: 'Answer again' }).click()
    await page.locator('.message-assistant .branches').waitFor()
    await settled(page)
    assert.equal(await page.locator('.message-assistant .branches').innerText(), '2/2')
    // An edited answer is continued from the user's words.
    await answers(page).getByRole('button', { name: 'Edit' }).click()
    await page.getByLabel('Edit the message').fill('The capital of France')
    await page.getByRole('button', { name: 'Save version' }).click()
    await page.getByRole('button', { name: 'Continue' }).click()
    await answers(page).filter({ hasText: 'is Paris.' }).waitFor()
    await settled(page)
    assert.match(await lastAnswer(page).innerText(), /^The capital of France is Paris\./)
    assert.equal(await page.locator('.message-assistant .branches').innerText(), '3/3')
    await kept(page, 6)
    await page.reload()
    await answers(page).filter({ hasText: 'is Paris.' }).waitFor()
    assert.equal(await page.locator('.message-user .branches').innerText(), '1/2')
  },

  async stop({ page, url }) {
    await open(page, url)
    await page.fill('#composer', 'Go')
    await page.press('#composer', 'Enter')
    await answers(page).filter({ hasText: 'word' }).waitFor()
    await page.getByRole('button', { name: 'Stop the answer' }).click()
    await page.getByText('You stopped this answer.').waitFor()
    const text = await lastAnswer(page).innerText()
    await page.waitForTimeout(300)
    assert.equal(await lastAnswer(page).innerText(), text)
    // The keyboard stops too.
    await page.getByRole('button', { name: 'Answer again' }).click()
    await page.getByRole('button', { name: 'Stop the answer' }).waitFor()
    await page.locator('#composer').focus()
    await page.keyboard.press('Escape')
    await page.getByText('You stopped this answer.').waitFor()
  },

  async tool_call({ page, url }) {
    await open(page, url)
    await withoutChance(page)
    await configure(page, async (panel) => {
      await panel.getByRole('button', { name: 'Insert an example' }).click()
      await panel.getByText('The server can enforce this.').waitFor()
    })
    await page.getByText('1 tool', { exact: true }).waitFor()
    await ask(page, 'What is the weather in Paris?')
    await page.locator('.call', { hasText: 'get_weather' }).waitFor()
    assert.match(await page.locator('.call-body').innerText(), /"city": "Paris"/)
    const send = page.getByRole('button', { name: 'Send results' })
    assert.ok(await send.isDisabled())
    await page.getByLabel('Result of get_weather').fill('{"temperature": 21, "sky": "sunny"}')
    await send.click()
    await answers(page).nth(1).locator('> .markdown').waitFor()
    await settled(page)
    assert.match(await lastAnswer(page).innerText(), /21|sunny/)
    await page.locator('.call-result', { hasText: '"temperature": 21' }).waitFor()
    // The request of the answer has the call and its result.
    await answers(page).last().getByRole('button', { name: 'Show the request' }).click()
    await page.locator('.request-text', { hasText: 'tool_call_id' }).waitFor()
    const request = await page.locator('.request-text').innerText()
    assert.match(request, /get_weather/)
  },

  async json_schema({ page, url }) {
    await open(page, url)
    await withoutChance(page)
    await configure(page, async (panel) => {
      await panel.getByRole('radio', { name: 'Schema' }).check({ force: true })
      const editor = panel.getByLabel('Schema', { exact: true }).and(panel.locator('textarea'))
      await panel.getByText('The server can enforce this.').waitFor()
      // What the browser finds wrong, at its place.
      await editor.fill('{\n  "type": "object",\n}')
      await panel.getByRole('button', { name: 'Line 3, column 1' }).waitFor()
      // What the server finds wrong, at its place.
      await editor.fill('{\n  "type": "object",\n  "properties": {\n    "a": { "uniqueItems": true }\n  }\n}')
      await panel.getByRole('button', { name: 'Line 4, column 12' }).click()
      assert.equal(await editor.evaluate((area) => area.value.slice(area.selectionStart).slice(0, 6)), '"uniqu')
      await editor.fill(
        '{"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "n": {"enum": [7]}}, "required": ["city", "n"]}',
      )
      await panel.getByText('The server can enforce this.').waitFor()
    })
    await ask(page, 'What is the capital of France?')
    const value = JSON.parse(await lastAnswer(page).innerText())
    assert.deepEqual(Object.keys(value), ['city', 'n'])
    assert.equal(value.n, 7)
    // A grammar too.
    await configure(page, async (panel) => {
      await panel.getByRole('radio', { name: 'Grammar' }).check({ force: true })
      const editor = panel.getByLabel('Grammar', { exact: true }).and(panel.locator('textarea'))
      await editor.fill('root ::= "yes" |\nroot2')
      await panel.locator('.code-state-wrong').waitFor()
      await editor.fill('root ::= "never" | "ever"')
      await panel.getByText('The server can enforce this.').waitFor()
    })
    await ask(page, 'Well?')
    assert.match(await lastAnswer(page).innerText(), /^n?ever$/)
  },

  async side_by_side({ page, url }) {
    await open(page, url)
    await page.getByRole('button', { name: 'Compare side by side' }).click()
    const left = page.getByRole('region', { name: 'Left side' })
    const right = page.getByRole('region', { name: 'Right side' })
    await right.waitFor()
    await left.getByRole('button', { name: 'Settings of this conversation' }).click()
    await page.getByLabel('Temperature').fill('0')
    await page.getByRole('complementary').getByRole('button', { name: 'Close' }).click()
    await right.getByRole('button', { name: 'Settings of this conversation' }).click()
    await page.getByLabel('Temperature').fill('0')
    await page.getByRole('radio', { name: 'Grammar' }).check({ force: true })
    await page.getByLabel('Grammar', { exact: true }).and(page.locator('textarea')).fill('root ::= "Lyon"')
    await page.getByRole('complementary').getByRole('button', { name: 'Close' }).click()
    await page.fill('#composer', 'What is the capital of France?')
    await page.press('#composer', 'Enter')
    await left.locator('.message-assistant', { hasText: 'Paris' }).waitFor()
    await right.locator('.message-assistant', { hasText: 'Lyon' }).waitFor()
    await settled(page)
    assert.equal(await page.locator('.list-entry').count(), 1)
    await kept(page, 4)
    await page.reload()
    await left.locator('.message-assistant', { hasText: 'Paris' }).waitFor()
    await right.locator('.message-assistant', { hasText: 'Lyon' }).waitFor()
    await page.getByRole('button', { name: 'End the comparison' }).click()
    await right.waitFor({ state: 'detached' })
    await page.locator('.list-entry').nth(1).waitFor()
    assert.equal(await page.locator('.list-entry').count(), 2)
  },

  async several_models({ page, url }) {
    await open(page, url)
    const picker = page.getByLabel('Model', { exact: true })
    await picker.first().waitFor()
    assert.deepEqual(await picker.locator('option').allInnerTexts(), ['alpha (loads when asked)', 'beta (loads when asked)'])
    await picker.selectOption('beta')
    const sending = page.waitForRequest((request) => request.url().endsWith('/v1/chat/completions'))
    await page.fill('#composer', 'What is the capital of France?')
    await page.press('#composer', 'Enter')
    assert.equal((await sending).postDataJSON().model, 'beta')
    await lastAnswer(page).waitFor()
    await settled(page)
    await picker.locator('option', { hasText: /^beta$/ }).waitFor({ state: 'attached' })
    assert.match(await page.getByRole('button', { name: /Attach an image/ }).getAttribute('title'), /reads text only/)
    // The other side asks the other model, on the same prompt.
    await page.getByRole('button', { name: 'Compare side by side' }).click()
    const right = page.getByRole('region', { name: 'Right side' })
    await right.getByLabel('Model', { exact: true }).selectOption('alpha')
    const both = []
    page.on('request', (request) => request.url().endsWith('/v1/chat/completions') && both.push(request.postDataJSON().model))
    await page.fill('#composer', 'What is 2 + 3?')
    await page.press('#composer', 'Enter')
    await right.locator('.message-assistant').nth(1).locator('> .markdown').waitFor()
    await settled(page)
    assert.deepEqual(both.sort(), ['alpha', 'beta'])
    assert.equal(await right.locator('.bubble').last().innerText(), 'What is 2 + 3?')
  },

  async reload_keeps_all({ page, url, context }) {
    await open(page, url)
    await configure(page, async (panel) => {
      await panel.getByLabel('System prompt').fill('Be kind.')
      await panel.getByLabel('Temperature').fill('0')
    })
    await ask(page, 'What is 2 + 3?')
    const address = page.url()
    const shown = await page.locator('.messages-column').innerText()
    await kept(page, 2)
    await page.reload()
    await answers(page).first().waitFor()
    assert.equal(page.url(), address)
    assert.equal(await page.locator('.messages-column').innerText(), shown)
    await page.getByRole('button', { name: 'Settings of this conversation' }).click()
    assert.equal(await page.getByLabel('System prompt').inputValue(), 'Be kind.')
    assert.equal(await page.getByLabel('Temperature').inputValue(), '0')
    await page.getByRole('complementary', { name: 'Settings of this conversation' }).getByRole('button', { name: 'Close' }).click()
    // Rename, export, delete, import.
    await page.locator('.chat-title button').click()
    await page.getByLabel('Name of the conversation').fill('A sum <b>of</b> mine')
    await page.keyboard.press('Enter')
    await page.locator('.list-title', { hasText: 'A sum <b>of</b> mine' }).waitFor()
    const downloading = page.waitForEvent('download')
    await page.getByRole('button', { name: 'Export all' }).click()
    const path = await (await downloading).path()
    assert.equal(JSON.parse(readFileSync(path, 'utf8')).conversations[0].title, 'A sum <b>of</b> mine')
    await page.locator('.list-entry').hover()
    await page.getByRole('button', { name: /^Actions for/ }).click()
    await page.getByRole('menuitem', { name: 'Delete' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.locator('.list-entry').waitFor({ state: 'detached' })
    const choosing = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Import' }).click()
    await (await choosing).setFiles(path)
    await page.locator('.list-entry a').click()
    await answers(page).first().waitFor()
    assert.equal(await page.locator('.messages-column').innerText(), shown)
    // Another visit in another tab sees the same.
    const tab = await context.newPage()
    await tab.goto(page.url())
    await tab.locator('.message-assistant').waitFor()
  },

  async keys({ page, url, allowed, options }) {
    allowed.errors.push(...NETWORK)
    await page.goto(url)
    const dialog = page.getByRole('dialog', { name: 'This server asks for a key' })
    await dialog.waitFor()
    await dialog.getByLabel('API key').fill('wrong')
    await page.keyboard.press('Enter')
    await dialog.getByText('The server does not know this key.').waitFor()
    await dialog.getByLabel('API key').fill(options.key)
    await page.keyboard.press('Enter')
    // Until the dialog is closed, what lies under it takes no keys.
    await page.locator('dialog[open]').waitFor({ state: 'detached' })
    await ask(page, 'Hi')
    assert.match(await lastAnswer(page).innerText(), /Hello, world/)
    const stored = await page.evaluate(() => ({ cookies: document.cookie, key: localStorage.getItem('llamapack.key') }))
    assert.deepEqual(stored, { cookies: '', key: options.key })
    await kept(page, 2)
    await page.reload()
    await answers(page).waitFor()
    assert.ok(!(await dialog.isVisible()))
    // The key is never in what is shown to others.
    await page.getByRole('button', { name: 'Show the request' }).click()
    await page.locator('.request-text', { hasText: 'curl' }).waitFor()
    const text = await page.locator('.request-text').innerText()
    assert.ok(text.includes('$LLAMAPACK_KEY') && !text.includes(options.key), text)
  },

  async server_restart({ page, url, outside, allowed }) {
    allowed.errors.push(...NETWORK)
    await open(page, url)
    await page.fill('#composer', 'Go')
    await page.press('#composer', 'Enter')
    await answers(page).filter({ hasText: 'word' }).waitFor()
    await outside('stop')
    await page.getByRole('alert').filter({ hasText: 'broke' }).waitFor()
    const before = await lastAnswer(page).innerText()
    assert.match(before, /word/)
    await page.getByText('The server does not answer. The page keeps trying.').waitFor()
    await outside('start')
    const again = page.getByRole('alert').getByRole('button', { name: 'Continue' })
    await again.click()
    await answers(page).filter({ hasText: 'the end' }).waitFor()
    await settled(page)
    const after = await lastAnswer(page).innerText()
    assert.ok(after.startsWith(before.trim()) && after.length > before.length, `${before} | ${after}`)
    assert.match(after, /the end$/)
  },

  async many_conversations({ page, url, log }) {
    await open(page, url)
    const archive = manyConversations(500)
    const choosing = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Import' }).click()
    await (await choosing).setFiles({ name: 'many.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(archive)) })
    await page.getByText('500 conversations imported.').waitFor()
    assert.equal(await page.locator('.list-entry').count(), 500)
    const start = Date.now()
    await page.keyboard.press('Control+k')
    await page.locator('#list-search').fill('needle')
    await page.waitForFunction(() => document.querySelectorAll('.list-entry').length === 1)
    log(`search in 500 conversations: ${Date.now() - start} ms`)
    assert.match(await page.locator('.list-entry').innerText(), /Conversation 321/)
    await page.keyboard.press('Enter')
    await page.getByText('a needle in the hay').waitFor()
    await page.locator('#list-search').fill('nothing has this')
    await page.getByText('Nothing has “nothing has this” in it.').waitFor()
    await page.locator('#list-search').fill('')
    await page.reload()
    await page.waitForFunction(() => document.querySelectorAll('.list-entry').length === 500)
  },

  async long_answer({ page, url, log, options }) {
    await open(page, url)
    const thread = await page.context().newCDPSession(page)
    await thread.send('Performance.enable', { timeDomain: 'threadTicks' })
    /** What the page's thread has done until now, in milliseconds of its own CPU time. */
    const spent = async () => {
      const { metrics } = await thread.send('Performance.getMetrics')
      return 1000 * (metrics.find((one) => one.name === 'TaskDuration')?.value ?? 0)
    }
    await page.evaluate(watchDrawing)
    await page.fill('#composer', 'Go')
    await page.press('#composer', 'Enter')
    const marks = []
    for (const share of [0, 1 / 3, 2 / 3, 1]) {
      const reached = (least) => window.drawing.chars >= least
      await page.waitForFunction(reached, Math.max(1, share * options.chars), { polling: 'raf', timeout: 240_000 })
      marks.push({ ...(await page.evaluate(() => ({ ...window.drawing, frames: [...window.drawing.frames] }))), cpu: await spent() })
    }
    await settled(page)
    await answers(page).filter({ hasText: options.last }).waitFor()
    assert.ok((await lastAnswer(page).evaluate((element) => element.textContent)).includes(options.last))
    const frames = marks.at(-1).frames.slice(marks[0].frames.length)
    const over = frames.filter((time) => time > 50).length / frames.length
    log(
      `50,000 tokens: ${frames.length} frames, median ${quantile(frames, 0.5)} ms, 95 % ${quantile(frames, 0.95)} ms, ` +
        `99 % ${quantile(frames, 0.99)} ms, longest ${quantile(frames, 1)} ms, over 50 ms: ${(100 * over).toFixed(1)} %`,
    )
    const thirds = marks.slice(1).map((mark, index) => workBetween(marks[index], mark))
    for (const third of thirds) log(JSON.stringify(third))
    const [first, , last] = thirds
    // However quick the machine is: a block that has ended is drawn once, and once more with colours. A page
    // that draws everything again for each token does more and more.
    const all = await lastAnswer(page).evaluate((element) => element.querySelectorAll('*').length)
    const drawn = marks.at(-1).nodes
    log(`${drawn} nodes were drawn or removed outside of the open block; the answer has ${all} elements`)
    assert.ok(drawn <= 6 * all, 'blocks that have ended are drawn again')
    assert.ok(last.mostInTail <= 2 * first.mostInTail + 50, 'the open block grows for ever')
    // A busy machine draws fewer frames of more text, so only both together say that drawing got dearer.
    const isDearer = (name) => last[name] > 3 * first[name]
    assert.ok(!(isDearer('cpuByFrame') && isDearer('cpuByKchar')), 'the end costs more than the beginning')
    // It scrolls, and the box takes keys.
    await page.locator('.messages').evaluate((box) => (box.scrollTop = 0))
    await page.getByRole('button', { name: 'To the newest message' }).click()
    await page.fill('#composer', 'still here')
  },

  async markdown({ page, url }) {
    await open(page, url)
    await ask(page, 'Go')
    const answer = lastAnswer(page)
    await answer.locator('.katex').first().waitFor()
    assert.equal(await answer.locator('.katex-display').count(), 1)
    await answer.locator('.hljs-keyword').first().waitFor()
    assert.equal(await answer.locator('table tr').count(), 3)
    await answer.getByRole('button', { name: 'Copy the code' }).click()
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^def greet/)
    const link = answer.locator('a').first()
    assert.equal(await link.getAttribute('rel'), 'noopener noreferrer nofollow')
  },

  async long_blocks({ page, url, log, options }) {
    await open(page, url)
    await page.evaluate(() => {
      window.drawn = { coloured: 0, rows: new Set() }
      new MutationObserver((records) => {
        for (const { target, addedNodes } of records) {
          if (!(target instanceof Element) || !target.closest('.markdown')) continue
          const added = [...addedNodes].filter((node) => node instanceof Element)
          if (target.matches('figure code') && added.length) window.drawn.coloured += 1
          const rows = added.flatMap((node) => (node.matches('tr') ? [node] : [...node.querySelectorAll('tr')]))
          for (const row of rows) window.drawn.rows.add(row)
        }
      }).observe(document.body, { childList: true, subtree: true })
    })
    await page.fill('#composer', 'Go')
    await page.press('#composer', 'Enter')
    await settled(page)
    const answer = lastAnswer(page)
    await answer.filter({ hasText: options.last }).waitFor()
    const coloured = (count) => document.querySelectorAll('.hljs-keyword').length === count
    await page.waitForFunction(coloured, 2 * options.functions)
    const drawn = (count) => document.querySelectorAll('.markdown td .katex').length === count
    await page.waitForFunction(drawn, options.rows)
    assert.equal((await answer.locator('code').first().textContent()).trim(), options.code.trim())
    assert.equal(await answer.locator('table').count(), 1)
    assert.equal(await answer.locator('tr').count(), options.rows + 1)
    assert.equal(await answer.locator('td strong').last().textContent(), String(options.rows - 1))
    // However quick the machine is: long code gets its colours in pieces, and a row is drawn once.
    const { coloured: pieces, rows } = await page.evaluate(() => ({ ...window.drawn, rows: window.drawn.rows.size }))
    log(`colours in ${pieces} pieces; ${rows} rows were drawn for ${options.rows}`)
    assert.ok(pieces >= 4, 'long code gets its colours at once')
    assert.ok(rows <= options.rows + 8, 'rows are drawn again')
    // A reload draws the same.
    await kept(page, 2)
    await page.reload()
    await page.waitForFunction(coloured, 2 * options.functions)
    assert.equal(await lastAnswer(page).locator('tr').count(), options.rows + 1)
  },

  async attacks({ page, url, options }) {
    await open(page, url)
    await page.evaluate(() => {
      window.hacked = []
    })
    // In what the model writes, in pieces.
    await ask(page, 'Go')
    // In names, results, titles and files of an import.
    const choosing = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Import' }).click()
    const archive = hostileArchive(options.attacks)
    await (await choosing).setFiles({ name: 'hostile.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(archive)) })
    await page.getByText(/imported\./).waitFor()
    for (const entry of await page.locator('.list-entry a').all()) {
      await entry.click()
      await page.locator('.message').first().waitFor()
      for (const summary of await page.locator('.thinking summary').all()) await summary.click()
    }
    await page.waitForTimeout(500)
    const found = await page.evaluate(() => ({
      hacked: window.hacked,
      scripts: document.querySelectorAll('#page script, #page iframe, #page object, #page embed, #page img, #page form[action]').length,
      handlers: [...document.querySelectorAll('#page *')].filter((element) => [...element.attributes].some((one) => one.name.startsWith('on'))).length,
      styled: [...document.querySelectorAll('.markdown [style]')].filter((element) => !element.closest('.formula')).length,
      links: [...document.querySelectorAll('.markdown a[href]')].map((link) => new URL(link.href).protocol).filter((one) => !/^(https?|mailto):$/.test(one)),
    }))
    assert.deepEqual(found, { hacked: [], scripts: 0, handlers: 0, styled: 0, links: [] })
  },

  async looks({ page, url }) {
    const nothingSerious = async (where) => {
      const findings = await serious(page)
      assert.deepEqual(findings, [], `${where}: ${findings.join('\n')}`)
    }
    await open(page, url)
    await configure(page, async (panel) => {
      await panel.getByRole('button', { name: 'Insert an example' }).click()
      await panel.getByText('The server can enforce this.').waitFor()
    })
    await ask(page, 'What is the capital of France?')
    await ask(page, 'What is the weather in Paris?')
    await answers(page).first().getByRole('button', { name: 'Answer again' }).click()
    await page.locator('.message-assistant .branches').waitFor()
    await settled(page)
    await page.locator('.thinking summary').first().click()
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await nothingSerious(`${colorScheme}: a chat`)
      await page.getByRole('button', { name: 'Settings of this conversation' }).first().click()
      const panel = page.getByRole('complementary', { name: 'Settings of this conversation' })
      await panel.getByRole('radio', { name: 'Schema' }).check({ force: true })
      await panel.locator('textarea[aria-label=Schema]').fill('{')
      await panel.locator('.code-state-wrong').waitFor()
      await nothingSerious(`${colorScheme}: the settings`)
      await panel.getByRole('radio', { name: 'Text' }).check({ force: true })
      await panel.getByRole('button', { name: 'Close' }).click()
      await page.getByRole('button', { name: 'Show the request' }).first().click()
      await page.locator('.request-text', { hasText: 'curl' }).waitFor()
      await nothingSerious(`${colorScheme}: the request`)
      await page.keyboard.press('Escape')
      await answers(page).first().getByRole('button', { name: 'Edit' }).click()
      await nothingSerious(`${colorScheme}: an edit`)
      await page.keyboard.press('Escape')
      await page.locator('.list-entry').first().hover()
      await page.getByRole('button', { name: /^Actions for/ }).first().click()
      await nothingSerious(`${colorScheme}: a menu`)
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Compare side by side' }).or(page.getByRole('button', { name: 'End the comparison' })).click()
      await nothingSerious(`${colorScheme}: side by side`)
    }
  },

  async attachments({ page, url }) {
    await open(page, url)
    const image = page.getByRole('button', { name: /Attach an image/ })
    assert.equal(await image.getAttribute('aria-disabled'), 'true')
    assert.match(await image.getAttribute('title'), /reads text only/)
    const choosing = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Attach a document' }).click()
    await (await choosing).setFiles({ name: 'note.txt', mimeType: 'text/plain', buffer: Buffer.from('My name is Ada.') })
    await page.locator('.composer .chip', { hasText: 'note.txt' }).waitFor()
    const sending = page.waitForRequest((request) => request.url().endsWith('/v1/chat/completions'))
    await ask(page, 'What is the capital of France?')
    const body = (await sending).postDataJSON()
    assert.deepEqual(body.messages.at(-1).content[0], {
      type: 'file',
      file: { filename: 'note.txt', file_data: `data:text/plain;base64,${Buffer.from('My name is Ada.').toString('base64')}` },
    })
    await page.locator('.message-user .chip', { hasText: 'note.txt' }).waitFor()
    // What is no text is refused with words.
    const again = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Attach a document' }).click()
    await (await again).setFiles({ name: 'x.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 255, 254]) })
    await page.getByText('x.bin is neither a PDF nor a text.').waitFor()
  },

  async keyboard({ page, url }) {
    await open(page, url)
    await withoutChance(page)
    await page.locator('#composer').focus()
    await page.keyboard.type('What is 2 + 3?')
    await page.keyboard.press('Shift+Enter')
    assert.match(await page.locator('#composer').inputValue(), /\n$/)
    await page.keyboard.press('Enter')
    await answers(page).waitFor()
    await settled(page)
    await page.keyboard.press('ArrowUp')
    assert.ok(await page.getByLabel('Edit the message').evaluate((area) => area === document.activeElement))
    await page.keyboard.press('Escape')
    await page.getByLabel('Edit the message').waitFor({ state: 'detached' })
    await page.keyboard.press('Control+Shift+o')
    await page.getByText('What would you like to know?').waitFor()
    await page.keyboard.press('Control+b')
    await page.locator('.list').waitFor({ state: 'detached' })
    await page.keyboard.press('Control+k')
    await page.waitForFunction(() => document.activeElement?.id === 'list-search')
    await page.keyboard.press('Alt+4')
    await page.getByRole('heading', { name: 'Settings', level: 1 }).waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    await page.keyboard.press('Escape')
    await page.keyboard.press('Alt+1')
    await page.locator('#composer').waitFor()
  },

  async narrow({ page, url }) {
    await page.setViewportSize({ width: 360, height: 640 })
    await open(page, url)
    await ask(page, 'What is the capital of France?')
    const wide = await page.evaluate(() => document.documentElement.scrollWidth)
    assert.ok(wide <= 360, `the page is ${wide} wide`)
    await page.getByRole('button', { name: 'Show the list' }).click()
    await page.getByRole('button', { name: 'New chat' }).click()
    await page.getByText('What would you like to know?').waitFor()
    await page.locator('.list').waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Settings of this conversation' }).click()
    await page.getByLabel('System prompt').fill('Be kind.')
    await page.getByRole('complementary').getByRole('button', { name: 'Close' }).click()
  },
}

/** In the page: counts frames, and the nodes that drawing the answer touches. */
function watchDrawing() {
  const drawing = { frames: [], chars: 0, nodes: 0, mostInTail: 0 }
  window.drawing = drawing
  let before = performance.now()
  const tick = (now) => {
    drawing.frames.push(now - before)
    before = now
    requestAnimationFrame(tick)
  }
  requestAnimationFrame(tick)
  const size = (nodes) => [...nodes].reduce((sum, node) => sum + 1 + (node.querySelectorAll?.('*').length ?? 0), 0)
  const counted = new WeakMap()
  new MutationObserver((records) => {
    const blocks = document.querySelectorAll('.message-assistant > .markdown .markdown-block')
    const tail = blocks[blocks.length - 1]
    let inTail = 0
    const gone = records.flatMap((record) => [...record.removedNodes]).filter((node) => node instanceof Element)
    for (const block of gone.flatMap((node) => [node, ...node.querySelectorAll('.markdown-block')])) {
      drawing.chars -= counted.get(block) ?? 0
    }
    for (const { target, addedNodes, removedNodes } of records) {
      const block = (target instanceof Element ? target : target.parentElement)?.closest('.markdown-block')
      const touched = size(addedNodes) + size(removedNodes)
      if (block && block === tail) inTail += touched
      else if (block) drawing.nodes += touched
    }
    drawing.mostInTail = Math.max(drawing.mostInTail, inTail)
    // Only blocks that are new or last have another length than before.
    for (let at = blocks.length - 1; at >= 0; at--) {
      const [block, length] = [blocks[at], blocks[at].textContent.length]
      const known = counted.get(block)
      if (known === length && at < blocks.length - 2) break
      drawing.chars += length - (known ?? 0)
      counted.set(block, length)
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true })
}

/** What was done between two marks: by frame, and by a thousand characters that were shown. */
function workBetween(before, after) {
  const [frames, kchars] = [after.frames.length - before.frames.length, (after.chars - before.chars) / 1000]
  const round = (number) => Number(number.toFixed(2))
  return {
    frames,
    nodesByKchar: round((after.nodes - before.nodes) / kchars),
    mostInTail: after.mostInTail,
    cpuByFrame: round((after.cpu - before.cpu) / frames),
    cpuByKchar: round((after.cpu - before.cpu) / kchars),
  }
}

function quantile(list, share) {
  const sorted = [...list].sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))])
}

function settingsOf() {
  return { model: '', system: '', sampling: {} }
}

function manyConversations(count) {
  const day = 86_400_000
  const conversations = Array.from({ length: count }, (_, n) => ({
    id: `c${n}`,
    title: `Conversation ${n}`,
    created: Date.now() - n * (day / 5),
    updated: Date.now() - n * (day / 5),
    leaf: `m${n}-1`,
    settings: settingsOf(),
  }))
  const messages = conversations.flatMap((one, n) => [
    { id: `m${n}-0`, conversation: one.id, parent: null, role: 'user', created: 1, content: `Question ${n}` },
    { id: `m${n}-1`, conversation: one.id, parent: `m${n}-0`, role: 'assistant', created: 2, content: n === 321 ? 'a needle in the hay' : `Answer ${n} `.repeat(20), ending: 'stop' },
  ])
  return { kind: 'llamapack-chats', version: 1, conversations, messages, files: {} }
}

/** Each attack stands in every text that an export has. */
function hostileArchive(attacks) {
  const conversations = attacks.map((attack, n) => ({ id: `c${n}`, title: attack, created: 1, updated: n + 2, leaf: `m${n}-2`, settings: { ...settingsOf(), system: attack, tools: attack } }))
  const messages = attacks.flatMap((attack, n) => {
    const own = { conversation: `c${n}`, created: 1, model: attack, thinking: attack, error: attack, callId: attack }
    return [
      { ...own, id: `m${n}-0`, parent: null, role: 'user', content: attack, attachments: [{ id: attack, name: attack, type: attack, size: 1, kind: 'document' }] },
      { ...own, id: `m${n}-1`, parent: `m${n}-0`, role: 'assistant', content: attack, ending: 'tool_calls', calls: [{ id: attack, name: attack, arguments: attack }] },
      { ...own, id: `m${n}-2`, parent: `m${n}-1`, role: 'tool', content: attack },
    ]
  })
  return { kind: 'llamapack-chats', version: 1, conversations, messages, files: {} }
}
