import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { asCurl, asPython } from './code'

const BODY = {
  model: 'demo',
  messages: [
    { role: 'system', content: 'Don\'t "quote" $HOME `id` \\ \n\u2028 ü' },
    { role: 'user', content: "it's '$(id)'" },
  ],
  temperature: 0,
  seed: null,
  stop: ['\n'],
  structured_outputs: { regex: '[a-z]+\\d' },
  flags: { yes: true, no: false, empty: {}, list: [] },
}

/** What a shell hands to curl. */
function sentByShell(command: string): string[] {
  const script = `curl() { printf '%s\\0' "$@"; }\n${command}`
  return execFileSync('sh', ['-c', script], { env: { LLAMAPACK_KEY: 'secret' } }).toString().split('\0').slice(0, -1)
}

/** What Python hands to the client. */
function sentByPython(program: string): unknown {
  const stub = `
import json, sys, types
sent = {}
class Answer:
    def __getattr__(self, name): return self
    def __getitem__(self, n): return self
class OpenAI:
    def __init__(self, **fields): sent.update(fields)
    def __getattr__(self, name): return self
    def create(self, **fields): sent.update(fields); return Answer()
module = types.ModuleType("openai"); module.OpenAI = OpenAI
sys.modules["openai"] = module
print = lambda *_: None
`
  const ending = '\nimport json as j, builtins\nbuiltins.print(j.dumps(sent))\n'
  return JSON.parse(execFileSync('python3', ['-c', stub + program + ending], { env: { ...process.env, LLAMAPACK_KEY: 'secret' } }).toString())
}

describe('the request as a program', () => {
  it('for curl sends what the page sent', () => {
    const sent = sentByShell(asCurl("http://h/a'b", BODY, { hasKey: true }))
    expect(sent.slice(0, 5)).toEqual(["http://h/a'b", '-H', 'Content-Type: application/json', '-H', 'Authorization: Bearer secret'])
    expect(JSON.parse(sent.at(-1)!)).toEqual(BODY)
  })

  it.each([true, false])('for Python sends what the page sent (key: %s)', (hasKey) => {
    const { structured_outputs, flags, ...known } = BODY
    expect(sentByPython(asPython('http://h/v1', BODY, { hasKey }))).toEqual({
      base_url: 'http://h/v1',
      api_key: hasKey ? 'secret' : 'none',
      ...known,
      extra_body: { structured_outputs, flags },
    })
  })
})
