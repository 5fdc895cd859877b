// What the machine room costs: tokens a second of 64 streams, with the room open in a browser and without, in turns.
// `node scripts/cost.mjs [turns] [seconds]`. The browser gives way to the server, as if it were on another machine.
// Where others use the machine too, tokens a second say little: then look at tokens by second of the server's CPU time.
import { readFileSync, readdirSync } from 'node:fs'
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

const TICKS = 100

/** Seconds of CPU that a process and its children have taken, for those that still run. */
function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
  const own = (Number(fields[11]) + Number(fields[12])) / TICKS
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean),
  )
  return children.reduce((sum, child) => sum + cpuSeconds(child), own)
}

/** Tokens a second, and by second of CPU. */
async function speed() {
  const [begin, before, cpu] = [performance.now(), await total(), cpuSeconds(server.pid)]
  await pause(SECONDS * 1000)
  const tokens = (await total()) - before
  const spent = cpuSeconds(server.pid) - cpu
  return { wall: (tokens * 1000) / (performance.now() - begin), cpu: tokens / spent }
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
    const [closed, shown] = [speeds.closed.at(-1), speeds.open.at(-1)]
    console.log(
      `closed ${closed.wall.toFixed(0)}, open ${shown.wall.toFixed(0)} tokens/s; ` +
        `${closed.cpu.toFixed(0)}, ${shown.cpu.toFixed(0)} tokens by second of CPU`,
    )
  }
} finally {
  controller.abort()
  await Promise.all(streams)
  await browser.close()
  await server.stop()
}
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
for (const kind of ['wall', 'cpu']) {
  const [shown, closed] = [speeds.open, speeds.closed].map((all) => median(all.map((one) => one[kind])))
  console.log(`ratio of the medians, by ${kind} time: ${(shown / closed).toFixed(3)}`)
}
