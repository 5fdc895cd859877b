// What the machine room costs: tokens a second of 64 streams, with the room open in a browser and without, in turns.
// `node scripts/cost.mjs [turns] [seconds]`. The browser gives way to the server, as if it were on another machine.
import { setPriority } from 'node:os'
import { launch, open } from './browser.mjs'
import { KEYS, pause, serve } from './served.mjs'

const TURNS = Number(process.argv[2] ?? 6)
const SECONDS = Number(process.argv[3] ?? 10)
const STREAMS = 64

const server = await serve('-np', String(STREAMS), '-c', String(STREAMS * 512), '--metrics')
setPriority(10) // the browser inherits this
const browser = await launch()
setPriority(0)
const controller = new AbortController()

/** One stream after the other. */
async function stream(number) {
  for (let turn = 0; !controller.signal.aborted; turn++) {
    const body = { prompt: `Once upon a time ${number} ${turn}`, n_predict: 400, ignore_eos: true, stream: true }
    try {
      const response = await fetch(new URL('completion', server.url), {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Api-Key': KEYS.alice },
        body: JSON.stringify(body),
        signal: controller.signal,
      })
      for await (const _ of response.body);
    } catch {
      await pause(50)
    }
  }
}

async function total() {
  const text = await (await fetch(new URL('metrics', server.url), { headers: { 'X-Api-Key': KEYS.ops } })).text()
  return Number(/^vllm:generation_tokens_total\{[^}]*\} (\S+)$/m.exec(text)[1])
}

async function speed() {
  const [begin, before] = [performance.now(), await total()]
  await pause(SECONDS * 1000)
  const after = await total()
  return ((after - before) * 1000) / (performance.now() - begin)
}

const streams = Array.from({ length: STREAMS }, (_, number) => stream(number))
const speeds = { closed: [], open: [] }
try {
  await pause(5000)
  for (let turn = 0; turn < TURNS; turn++) {
    speeds.closed.push(await speed())
    const page = await open(browser, `${server.url}#/room`, { key: KEYS.ops })
    await page.locator('.lane-answer').first().waitFor()
    await pause(1500)
    speeds.open.push(await speed())
    await page.context().close()
    await pause(1000)
    console.log(`closed ${speeds.closed.at(-1).toFixed(0)}, open ${speeds.open.at(-1).toFixed(0)} tokens/s`)
  }
} finally {
  controller.abort()
  await Promise.all(streams)
  await browser.close()
  await server.stop()
}
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const ratios = speeds.open.map((value, turn) => value / speeds.closed[turn])
console.log(`ratio of the medians ${(median(speeds.open) / median(speeds.closed)).toFixed(3)}, median ratio ${median(ratios).toFixed(3)}`)
