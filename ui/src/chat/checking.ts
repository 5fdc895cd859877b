// Whether a constraint can be enforced: the browser reads the JSON, the server compiles the rest.
import { getJson, postJson } from '../api/client'
import { isRecord } from '../api/errors'
import { JsonError, parseJson, placeOf } from '../json/parse'
import { texts } from '../texts'

export interface Flaw {
  readonly message: string
  /** Where in the text, counted from 0; null if the whole text is meant. */
  readonly offset: number | null
}

export type CheckedKind = 'schema' | 'grammar' | 'regex' | 'tools'

const FIELDS = { schema: 'json_schema', grammar: 'grammar', regex: 'regex' } as const

/** What is wrong with the text; null if the server can enforce it. Raises `ApiError` and `Unreachable`. */
export async function flawOf(kind: CheckedKind, text: string, signal: AbortSignal): Promise<Flaw | null> {
  if (!text.trim()) return { message: texts.json.empty, offset: null }
  if (kind === 'grammar' || kind === 'regex') return serverFlaw(kind, text, text, signal)
  const value = parsed(text)
  if ('flaw' in value) return value.flaw
  if (kind === 'tools') return toolFlaw(text, value.value, signal)
  if (!isRecord(value.value)) return { message: texts.json.schema, offset: 0 }
  return serverFlaw('schema', text, value.value, signal)
}

function parsed(text: string): { value: unknown } | { flaw: Flaw } {
  try {
    return { value: parseJson(text) }
  } catch (error) {
    if (error instanceof JsonError) return { flaw: { message: error.message, offset: error.offset } }
    throw error
  }
}

async function serverFlaw(
  kind: keyof typeof FIELDS,
  text: string,
  value: unknown,
  signal: AbortSignal,
  pointer = '',
): Promise<Flaw | null> {
  const answer = await postJson<unknown>('v1/grammars/check', { [FIELDS[kind]]: value }, { signal })
  if (!isRecord(answer) || answer.valid === true) return null
  const place = typeof answer.place === 'string' ? answer.place : null
  return { message: String(answer.message), offset: offsetOf(kind, text, place, pointer) }
}

/** The server's place in the text: a JSON pointer, or `line:column`. */
export function offsetOf(kind: keyof typeof FIELDS, text: string, place: string | null, pointer = ''): number | null {
  if (place === null) return pointer ? placeOf(text, pointer) : null
  if (kind === 'schema') return nearestPlace(text, pointer + place)
  const [line = 0, column = 0] = place.split(':').map(Number)
  const lines = text.split('\n')
  if (!(line >= 1 && line <= lines.length)) return null
  return lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + Math.max(0, column - 1)
}

/** The place of a pointer, or of what contains it. */
function nearestPlace(text: string, pointer: string): number | null {
  for (let at = pointer; ; at = at.slice(0, at.lastIndexOf('/'))) {
    const found = placeOf(text, at)
    if (found !== null || at === '') return found
  }
}

async function toolFlaw(text: string, value: unknown, signal: AbortSignal): Promise<Flaw | null> {
  if (!Array.isArray(value)) return { message: texts.json.listOfTools, offset: 0 }
  for (const [index, tool] of value.entries()) {
    const fn: unknown = isRecord(tool) ? tool.function : undefined
    if (!isRecord(fn) || typeof fn.name !== 'string') {
      return { message: texts.json.tool(index + 1), offset: placeOf(text, `/${index}`) }
    }
    if (!isRecord(fn.parameters) || !Object.keys(fn.parameters).length) continue
    const flaw = await serverFlaw('schema', text, fn.parameters, signal, `/${index}/function/parameters`)
    if (flaw) return flaw
  }
  return null
}

export interface ShippedGrammar {
  readonly id: string
  readonly summary: string
  readonly grammar: string
}

/** The grammars that the server ships; none if it doesn't answer. */
export async function shippedGrammars(): Promise<ShippedGrammar[]> {
  try {
    const list = await getJson<{ data: ShippedGrammar[] }>('v1/grammars')
    return list.data
  } catch {
    return []
  }
}
