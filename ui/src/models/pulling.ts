// A pull as the server streams it: one JSON object a line.
import { request } from '../api/client'
import { Unreachable, errorOf, isRecord } from '../api/errors'
import { texts } from '../texts'

export interface PullProgress {
  readonly status: string
  readonly completed: number
  readonly total: number
}

/** How far a pull is, over all of its files, until it is complete. Raises `ApiError` if it fails. */
export async function* pulled(model: string, signal: AbortSignal): AsyncGenerator<PullProgress> {
  const response = await request('api/pull', { method: 'POST', body: { model, stream: true }, signal })
  if (!response.body) throw new Unreachable(texts.errors.broken)
  const files = new FileTotals()
  let isDone = false
  for await (const line of linesOf(response.body)) {
    const step: unknown = JSON.parse(line)
    if (!isRecord(step)) continue
    if (typeof step.error === 'string') throw errorOf(500, { error: { message: step.error } })
    isDone = step.status === 'success'
    yield files.after(step)
  }
  if (!isDone) throw new Unreachable(texts.errors.broken)
}

/** Adds up files, of which each step tells one. */
export class FileTotals {
  private readonly files = new Map<string, readonly [completed: number, total: number]>()

  /** All files together, after one more step. */
  after(step: Readonly<Record<string, unknown>>): PullProgress {
    const digest = typeof step.digest === 'string' ? step.digest : ''
    if (digest && typeof step.total === 'number') this.files.set(digest, [Number(step.completed) || 0, step.total])
    let [completed, total] = [0, 0]
    for (const [done, all] of this.files.values()) {
      completed += done
      total += all
    }
    return { status: typeof step.status === 'string' ? step.status : '', completed, total }
  }
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      yield* lines.filter((line) => line.trim())
    }
    if (rest.trim()) yield rest
  } finally {
    void reader.cancel().catch(() => undefined)
  }
}
