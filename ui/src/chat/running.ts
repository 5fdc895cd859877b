// Which conversations have an answer that is being written, in whichever view the user is.
import { signal } from '@preact/signals'

export const runningIds = signal<ReadonlySet<string>>(new Set())

export function markRunning(id: string, isRunning: boolean): void {
  if (runningIds.value.has(id) === isRunning) return
  const ids = new Set(runningIds.value)
  if (isRunning) ids.add(id)
  else ids.delete(id)
  runningIds.value = ids
}
