// Runs one scenario in Chromium against a server: `node e2e/run.mjs SCENARIO URL [JSON]`.
//
// The scenario fails if the page raises an error, breaks its Content-Security-Policy, or asks any
// other host for anything. A scenario that needs something done to the server prints a word after
// `@` and waits for a line on its standard input.
import { createInterface } from 'node:readline'
import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import { roomScenarios } from './room.mjs'
import { scenarios as chatScenarios } from './scenarios.mjs'

const scenarios = { ...chatScenarios, ...roomScenarios }

const [name, url, options = '{}'] = process.argv.slice(2)
const run = scenarios[name]
if (!run) throw new Error(`there is no scenario ${name}`)

const executablePath =
  process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path))
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true })
await context.grantPermissions(['clipboard-read', 'clipboard-write'])
const page = await context.newPage()
page.setDefaultTimeout(120_000) // a busy machine may be slow

const problems = []
const allowed = { errors: [] }
watch(context)

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** Ask the test outside to do something to the server. Returns its answer. */
async function outside(word) {
  console.log(`@${word}`)
  return (await lines.next()).value
}

try {
  await run({ page, context, url, outside, allowed, options: JSON.parse(options), log: console.log })
} catch (error) {
  problems.push(error.stack ?? String(error))
  if (process.env.PAGE_SHOTS) await page.screenshot({ path: `${process.env.PAGE_SHOTS}/${name}.png` })
}
const unexpected = problems.filter((problem) => !allowed.errors.some((pattern) => pattern.test(problem)))
for (const problem of unexpected) console.error(problem)
await browser.close()
process.exit(unexpected.length ? 1 : 0)

function watch(context) {
  const origin = new URL(url).origin
  context.on('request', (request) => {
    const target = new URL(request.url())
    if (!['data:', 'blob:'].includes(target.protocol) && target.origin !== origin) problems.push(`asked ${request.url()}`)
  })
  context.on('weberror', (error) => problems.push(`page error: ${error.error().stack ?? error.error()}`))
  context.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`)
  })
  context.on('dialog', (dialog) => {
    problems.push(`a script opened a dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
}
