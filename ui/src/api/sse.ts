// Server-sent events over fetch, because an EventSource can't send a key.
import { Unreachable, errorOf, isRecord } from './errors'
import { request, type RequestOptions } from './client'
import { ReadingTurns } from './turns'
import { texts } from '../texts'

/** What is read at once; a quick server's pieces are larger. */
const PIECE_BYTES = 32 * 1024

export interface ServerEvent {
  /** The event's name; "message" without one. */
  readonly name: string
  readonly data: string
  /** The id of the event; "" without one. */
  readonly id: string
}

/** Splits a stream of text into events. Lines may come in any pieces. */
export class EventReader {
  private rest = ''
  private data: string[] = []
  private name = ''
  private id = ''

  /** The events that this piece of text completes. */
  feed(piece: string): ServerEvent[] {
    const events: ServerEvent[] = []
    const lines = (this.rest + piece).split(/\r\n|\n|\r(?!$)/)
    this.rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') this.end(events)
      else this.take(line)
    }
    return events
  }

  private take(line: string): void {
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.data.push(value)
    else if (field === 'event') this.name = value
    else if (field === 'id') this.id = value
    else if (field === 'error') {
      this.name = 'error'
      this.data.push(value)
    }
  }

  private end(events: ServerEvent[]): void {
    if (this.data.length) events.push({ name: this.name || 'message', data: this.data.join('\n'), id: this.id })
    this.data = []
    this.name = ''
  }
}

/**
 * The events of a route, until the server ends them.
 *
 * Raises `ApiError` for a refusal, and `Unreachable` if the connection breaks.
 */
export async function* events(path: string, options: RequestOptions = {}): AsyncGenerator<ServerEvent> {
  for await (const batch of eventBatches(path, options)) yield* batch
}

/** The same events, those together that came together: a quick answer costs no turn of the loop for each word. */
export async function* eventBatches(path: string, options: RequestOptions = {}): AsyncGenerator<readonly ServerEvent[]> {
  const response = await request(path, { accept: 'text/event-stream', ...options })
  if (!response.body) throw new Unreachable(texts.errors.broken)
  const source = response.body.getReader()
  const decoder = new TextDecoder()
  const reader = new EventReader()
  const turns = new ReadingTurns()
  try {
    for (;;) {
      const { done, value } = await readFrom(source)
      if (done) return
      for (let at = 0; at < value.length; at += PIECE_BYTES) {
        const begin = turns.now()
        const piece = value.subarray(at, at + PIECE_BYTES)
        const batch = reader.feed(decoder.decode(piece, { stream: true }))
        if (batch.length) yield batch
        await turns.took(begin)
      }
    }
  } finally {
    void source.cancel().catch(() => undefined)
  }
}

async function readFrom(source: ReadableStreamDefaultReader<Uint8Array>): Promise<ReadableStreamReadResult<Uint8Array>> {
  try {
    return await source.read()
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Unreachable(texts.errors.broken)
  }
}

/** The JSON of an event. Raises `ApiError` if the event is an error. */
export function eventJson(event: ServerEvent): Record<string, unknown> {
  const data: unknown = JSON.parse(event.data)
  if (!isRecord(data)) throw errorOf(500, null)
  if (event.name === 'error' || isRecord(data.error)) {
    const body = isRecord(data.error) ? data : { error: data }
    const code = isRecord(body.error) ? Number(body.error.code) : 0
    throw errorOf(code || 500, body)
  }
  return data
}
