// What the machine room costs: 64 streams with the room open, and without, in turns.
// `node scripts/cost.mjs [turns] [seconds] [apart]`.
//
// Two things are compared with nobody looking: a reader of the event stream alone, which is what the server does for
// the room; and the page in a browser. Server, clients and browser share all cores, with the same rights. With `apart`,
// the first half of the cores is the server's, the rest the browser's and the clients': as if the browser were on
// another machine. Then what remains is what the server does, and not what a browser on its cores takes.
//
// The browser draws without a GPU, so its processors do what a screen's graphics do elsewhere. It shows a window of
// 1280 x 860 pixels. The kernel counts the CPU of each process.
//
// Tokens a second say little where others use the machine too: then look at tokens by second of the server's CPU time.
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { launch, open } from './browser.mjs'
import { KEYS, pause, serve } from './served.mjs'

const TURNS = Number(process.argv[2] ?? 6)
const SECONDS = Number(process.argv[3] ?? 10)
const IS_APART = process.argv[4] === 'apart'
const STREAMS = 64
const TICKS = 100

const half = Math.max(Math.floor(availableParallelism() / 2), 1)
const flags = ['-np', String(STREAMS), '-c', String(STREAMS * 512), '--metrics', ...(IS_APART ? ['-t', String(half)] : [])]
const server = await serve(...flags)
if (IS_APART) {
  pin(server.pid, `0-${half - 1}`)
  pin(process.pid, `${half}-${availableParallelism() - 1}`) // the browser inherits this
}
const browser = await launch()
const controller = new AbortController()

/** Let a process and its children have these cores. */
function pin(pid, cores) {
  for (const one of [pid, ...childrenOf(pid)]) execFileSync('taskset', ['-acp', cores, String(one)], { stdio: 'ignore' })
}

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

/** All processes below a process. */
function childrenOf(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`)
  const children = tasks.flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' '))
  return children.filter(Boolean).flatMap((child) => [child, ...childrenOf(child)])
}

/** Seconds of CPU that processes have taken; those that ended meanwhile took none. */
function cpuSeconds(pids) {
  const spent = pids.map((pid) => {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
      return (Number(fields[11]) + Number(fields[12])) / TICKS
    } catch {
      return 0
    }
  })
  return spent.reduce((sum, one) => sum + one, 0)
}

const engines = () => childrenOf(server.pid)

/** The processes of the browser, by what they are for. */
function browsers() {
  const found = {}
  for (const pid of childrenOf(process.pid)) {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    if (pid === String(server.pid) || engines().includes(pid)) continue
    const [, type = 'main', service = ''] = /--type=([\w-]+)(?:.*--utility-sub-type=([\w.]+))?/.exec(command) ?? []
    const kind = service || type
    found[kind] = [...(found[kind] ?? []), pid]
  }
  return found
}

/** Tokens a second, and by second of the server's CPU; the cores that each process takes. */
async function speed() {
  const parts = [[server.pid], engines(), ...Object.values(browsers())]
  const kinds = Object.keys(browsers())
  const marks = () => parts.map(cpuSeconds)
  const [begin, before, cpu] = [performance.now(), await total(), marks()]
  await pause(SECONDS * 1000)
  const [tokens, after, seconds] = [(await total()) - before, marks(), (performance.now() - begin) / 1000]
  const [api, engine, ...shown] = after.map((one, index) => (one - cpu[index]) / seconds)
  const browser = shown.reduce((sum, one) => sum + one, 0)
  const byKind = Object.fromEntries(kinds.map((kind, index) => [kind, shown[index]]))
  return { wall: tokens / seconds, cpu: tokens / (api + engine) / seconds, api, engine, browser, byKind }
}

/** Somebody reads the event stream, and does nothing else. */
async function reader() {
  const reading = new AbortController()
  const response = await fetch(new URL('v1/events', server.url), { headers: { 'X-Api-Key': KEYS.ops }, signal: reading.signal })
  const over = (async () => {
    for await (const _ of response.body);
  })().catch(() => undefined)
  return async () => {
    reading.abort()
    await over
  }
}

async function page() {
  const shown = await open(browser, `${server.url}#/room`, { key: KEYS.ops, motion: 'no-preference' })
  await shown.locator('.lane-answer').first().waitFor()
  return () => shown.context().close()
}

const nobody = async () => async () => undefined
const WAYS = { nobody, reader, page }
const speeds = Object.fromEntries(Object.keys(WAYS).map((way) => [way, []]))
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]
const streams = Array.from({ length: STREAMS }, (_, number) => stream(number))
try {
  await pause(5000)
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [way, begin] of Object.entries(WAYS)) {
      const end = await begin()
      await pause(3000) // until the page is loaded and drawn
      const one = await speed()
      speeds[way].push(one)
      await end()
      const cores = ['api', 'engine', 'browser'].map((part) => `${part} ${one[part].toFixed(2)}`).join(', ')
      console.log(`${way}: ${one.wall.toFixed(0)} tokens/s, ${one.cpu.toFixed(0)} by second of the server's CPU; cores: ${cores}`)
    }
  }
} finally {
  controller.abort()
  await Promise.all(streams)
  await browser.close()
  await server.stop()
}
console.log(IS_APART ? 'the browser had cores of its own' : 'the browser had the same cores')
for (const [way, of] of Object.entries(speeds).slice(1)) {
  const ratio = (kind) => median(of.map((one, turn) => one[kind] / speeds.nobody[turn][kind])).toFixed(3)
  console.log(`${way} to nobody, median of the turns: ${ratio('wall')} by wall time, ${ratio('cpu')} by the server's CPU time`)
}
const taken = (way) => median(speeds[way].map((one) => one.browser))
console.log(`the browser takes ${taken('page').toFixed(3)} cores with the room, ${taken('nobody').toFixed(3)} without; with it, by process:`)
for (const kind of Object.keys(speeds.page[0].byKind)) {
  console.log(`  ${kind}: ${median(speeds.page.map((one) => one.byKind[kind] ?? 0)).toFixed(3)}`)
}
