// A server of the demo model for scripts, and clients that keep it busy.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const COMMAND = process.env.LLAMAPACK ?? new URL('../../.venv/bin/llamapack', import.meta.url).pathname
const START_SECONDS = 90

export const KEYS = { ops: 'ops-key', alice: 'alice-key', bob: 'bob-key', carol: 'carol-key' }

const KEYS_FILE = `
[keys.ops]
key = "${KEYS.ops}"
admin = true

[keys.alice]
key = "${KEYS.alice}"

[keys.bob]
key = "${KEYS.bob}"

[keys.carol]
key = "${KEYS.carol}"
`

/** Start a server with keys; `stop` ends it. */
export async function serve(...flags) {
  const folder = mkdtempSync(join(tmpdir(), 'llamapack-page-'))
  const keys = join(folder, 'keys.toml')
  writeFileSync(keys, KEYS_FILE)
  const child = spawn(COMMAND, ['serve', '--port', '0', '--api-keys-toml', keys, ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text) => (log += text))
  const stop = async () => {
    if (child.exitCode === null) {
      child.kill('SIGTERM')
      await new Promise((resolve) => child.once('exit', resolve))
    }
    rmSync(folder, { recursive: true, force: true })
  }
  const deadline = Date.now() + START_SECONDS * 1000
  while (!/ready: /.test(log)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop()
      throw new Error(`the server did not start:\n${log}`)
    }
    await pause(100)
  }
  const url = /listening on (http:\/\/[^\s,]+)/.exec(log)?.[1]
  return { url: `${url}/`, pid: child.pid, stop }
}

const SYSTEMS = [
  'You are a helpful assistant. Answer in short sentences, and say so when you do not know something.',
  'You write stories for children. Use simple words, be kind, and end well.',
]
const QUESTIONS = [
  'What is the capital of France?',
  'Tell me a short story about a fox.',
  'What is 27 + 15?',
  'Who wrote this letter, and why?',
  'Tell me a short story about the sea.',
  'What is the capital of Japan?',
]

/** Chats of three keys, until `stop`: `streams` at a time, with answers of up to `tokens` tokens. */
export function busy(url, streams, tokens) {
  const controller = new AbortController()
  const names = ['alice', 'bob', 'carol']
  let turn = 0
  const loop = async () => {
    while (!controller.signal.aborted) {
      const number = turn++
      const body = {
        messages: [
          { role: 'system', content: SYSTEMS[number % 2] },
          { role: 'user', content: QUESTIONS[number % QUESTIONS.length] },
        ],
        max_tokens: 40 + ((number * 53) % tokens),
        ignore_eos: true,
        seed: number,
      }
      try {
        const response = await fetch(new URL('v1/chat/completions', url), {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${KEYS[names[number % 3]]}` },
          body: JSON.stringify(body),
          signal: controller.signal,
        })
        await response.text()
      } catch {
        await pause(200)
      }
    }
  }
  const loops = Array.from({ length: streams }, loop)
  return async () => {
    controller.abort()
    await Promise.all(loops)
  }
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
