// How long a request waited, computed its prompt and answered.
import type { RequestView } from './types'

export interface Timeline {
  readonly queue: number
  readonly prefill: number
  readonly decode: number
  readonly total: number
}

/** Seconds of each phase; those of a request that runs go on until `now`. */
export function timelineOf(request: RequestView, now: number): Timeline {
  const end = Math.max(request.ended ?? now, request.queued)
  const started = clamp(request.started ?? end, request.queued, end)
  const first = clamp(request.first_token ?? end, started, end)
  return {
    queue: started - request.queued,
    prefill: first - started,
    decode: end - first,
    total: end - request.queued,
  }
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most)
}
