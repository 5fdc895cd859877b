// A state after an update.
import type { Change, EngineChange, EngineView, ItemChange, RequestView, RoomState, SlotView } from './types'

/** Requests that the page remembers: the server remembers about as many. */
export const MOST_REQUESTS = 64

/** The state after an update. What the update doesn't tell is as it was. */
export function merged(state: RoomState, change: Change): RoomState {
  const { engines: news, ...rest } = change
  const engines: Record<string, EngineView> = { ...state.engines }
  for (const [name, engine] of Object.entries(news ?? {})) {
    if (engine === null) delete engines[name]
    else engines[name] = mergedEngine(engines[name], engine)
  }
  return { ...state, ...rest, engines }
}

function mergedEngine(before: EngineView | undefined, news: EngineChange): EngineView {
  if (!before) return news as EngineView
  const { slots, requests, ...rest } = news
  return {
    ...before,
    ...rest,
    slots: slots ? mergedSlots(before.slots, slots) : before.slots,
    requests: requests ? mergedRequests(before.requests, requests) : before.requests,
  }
}

function mergedSlots(before: readonly SlotView[], news: ReadonlyArray<ItemChange<SlotView>>): readonly SlotView[] {
  if (news.length === 0) return []
  return byId(before, news).sort((a, b) => a.id - b.id)
}

function mergedRequests(before: readonly RequestView[], news: ReadonlyArray<ItemChange<RequestView>>): readonly RequestView[] {
  const all = byId(before, news).sort((a, b) => a.queued - b.queued || a.id - b.id)
  const over = all.filter((one) => one.ended !== null)
  const forgotten = new Set(over.slice(0, Math.max(over.length - MOST_REQUESTS, 0)).map((one) => one.id))
  return all.filter((one) => !forgotten.has(one.id))
}

/** An item that is not known yet comes whole. */
function byId<T extends { readonly id: number }>(before: readonly T[], news: ReadonlyArray<ItemChange<T>>): T[] {
  const all = new Map(before.map((one) => [one.id, one]))
  for (const one of news) all.set(one.id, { ...all.get(one.id), ...one } as T)
  return [...all.values()]
}
