// The request of an answer as a program that others can run.
import type { Body } from './request'

/** A command for curl. The key comes from the shell's environment. */
export function asCurl(url: string, body: Body, { hasKey = false } = {}): string {
  const json = JSON.stringify(body, null, 2)
  const key = hasKey ? ` \\\n  -H "Authorization: Bearer $LLAMAPACK_KEY"` : ''
  return `curl ${shellQuoted(url)} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d ${shellQuoted(json)}`
}

/** A program for OpenAI's Python client. Fields that the client doesn't know go into `extra_body`. */
export function asPython(baseUrl: string, body: Body, { hasKey = false } = {}): string {
  const known = Object.entries({ model: '', ...body }).filter(([name]) => CLIENT_FIELDS.has(name))
  const others = Object.entries(body).filter(([name]) => !CLIENT_FIELDS.has(name))
  const fields = [
    ...known.map(([name, value]) => `    ${name}=${python(value, 4)},`),
    ...(others.length ? [`    extra_body=${python(Object.fromEntries(others), 4)},`] : []),
  ]
  const key = hasKey ? 'os.environ["LLAMAPACK_KEY"]' : '"none"'
  return [
    ...(hasKey ? ['import os', ''] : []),
    'from openai import OpenAI',
    '',
    `client = OpenAI(base_url=${python(baseUrl, 0)}, api_key=${key})`,
    'answer = client.chat.completions.create(',
    ...fields,
    ')',
    'print(answer.choices[0].message.content)',
  ].join('\n')
}

const CLIENT_FIELDS = new Set([
  ...['model', 'messages', 'temperature', 'top_p', 'presence_penalty', 'frequency_penalty', 'seed', 'max_tokens'],
  ...['stop', 'response_format', 'tools', 'tool_choice'],
])

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

/** A JSON value as Python. */
function python(value: unknown, indent: number): string {
  if (value === null) return 'None'
  if (value === true) return 'True'
  if (value === false) return 'False'
  // JSON's strings are Python's too, but for lone surrogates, which JSON.stringify escapes.
  if (typeof value !== 'object') return JSON.stringify(value)
  const inner = ' '.repeat(indent + 4)
  const outer = ' '.repeat(indent)
  const items = Array.isArray(value)
    ? value.map((item) => python(item, indent + 4))
    : Object.entries(value as object).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, indent + 4)}`)
  const [open, close] = Array.isArray(value) ? '[]' : '{}'
  if (!items.length) return `${open}${close}`
  const line = `${open}${items.join(', ')}${close}`
  if (line.length + indent < 72 && !line.includes('\n')) return line
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join('')}${outer}${close}`
}
