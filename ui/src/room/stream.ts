// The server's event stream: one connection for all views that look, none while nobody does.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { ApiError } from '../api/errors'
import { apiKey } from '../api/key'
import { events } from '../api/sse'
import { StepHistory } from './history'
import { merged } from './merge'
import { Pace, timed } from './pace'
import { Throttle } from './throttle'
import type { Change, RoomState } from './types'

export type Connection =
  | { readonly state: 'connecting' }
  | { readonly state: 'live' }
  /** The connection broke, and the page tries again. */
  | { readonly state: 'lost'; readonly message: string }
  /** The server refuses the stream: another try would be refused too. */
  | { readonly state: 'refused'; readonly status: number; readonly message: string }

export const connection = signal<Connection>({ state: 'connecting' })

/** What the server does, as it is shown; null before the first snapshot. */
export const room = signal<RoomState | null>(null)

/** What the server does, as the last event told. */
let latest: RoomState | null = null

/** By engine, what its steps took in the last minute. */
export const stepHistory = new StepHistory()

const FIRST_WAIT = 500
const LONGEST_WAIT = 8000

/** With these answers, another try makes no sense before something is changed. */
const FINAL = new Set([401, 403, 404, 501])

let numLookers = 0
let running: AbortController | null = null

/** Keep the stream open while the component is shown and the page is visible. */
export function useRoom(): void {
  useEffect(() => {
    numLookers += 1
    follow()
    const onVisible = (): void => follow()
    document.addEventListener('visibilitychange', onVisible)
    return () => {
      numLookers -= 1
      document.removeEventListener('visibilitychange', onVisible)
      follow()
    }
  }, [apiKey.value])
}

/** Try again at once. */
export function retry(): void {
  running?.abort()
  running = null
  follow()
}

/** Open the stream if somebody looks, and close it if nobody does. */
function follow(): void {
  const isWanted = numLookers > 0 && document.visibilityState !== 'hidden'
  if (isWanted && !running) {
    const controller = new AbortController()
    running = controller
    void read(controller.signal).finally(() => {
      if (running === controller) running = null
    })
  } else if (!isWanted && running) {
    running.abort()
    running = null
  }
}

async function read(signal: AbortSignal): Promise<void> {
  let wait = FIRST_WAIT
  if (!room.value) connection.value = { state: 'connecting' }
  while (!signal.aborted) {
    try {
      for await (const event of events('v1/events', { signal })) {
        if (signal.aborted) return
        take(event.name, JSON.parse(event.data) as RoomState | Change)
        wait = FIRST_WAIT
      }
      if (signal.aborted) return
      connection.value = { state: 'lost', message: '' }
    } catch (error) {
      if (signal.aborted) return
      const message = error instanceof Error ? error.message : ''
      if (error instanceof ApiError && FINAL.has(error.status)) {
        room.value = latest = null
        connection.value = { state: 'refused', status: error.status, message }
        return
      }
      connection.value = { state: 'lost', message }
    }
    await pause(wait, signal)
    wait = Math.min(wait * 2, LONGEST_WAIT)
  }
}

function take(name: string, data: RoomState | Change): void {
  if (name === 'snapshot') latest = data as RoomState
  else if (name === 'update' && latest) latest = merged(latest, data)
  else return
  stepHistory.add(latest)
  show.ask()
  if (connection.value.state !== 'live') connection.value = { state: 'live' }
}

const pace = new Pace()

/** Shows the latest state: at once, if the last one has been there for a while. */
const show = new Throttle(
  () => pace.wait,
  () => {
    if (!latest || latest === room.value) return
    timed(
      () => (room.value = latest),
      (milliseconds) => pace.note(milliseconds),
    )
  },
)

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
