// What the views make of the event stream: states, histories, layouts, words.
import { describe, expect, it } from 'vitest'
import { areasOf, roundedUp } from './areas'
import { bytes, percent, seconds, short } from './format'
import { StepHistory, rates } from './history'
import { holderOf, layoutOf, ticksOf } from './icicle'
import { MOST_REQUESTS, merged } from './merge'
import { timelineOf } from './timeline'
import type { CacheView, EngineView, NodeView, RequestView, RoomState, SlotView, StepsView } from './types'
import { reasonText, sourceText } from './words'

function slot(id: number, fields: Partial<SlotView> = {}): SlotView {
  return {
    id,
    state: 'idle',
    request: null,
    key: null,
    prompt_tokens: 0,
    computed_tokens: 0,
    cached_tokens: 0,
    answer_tokens: 0,
    cells: 0,
    tokens_per_second: 0,
    cache: null,
    ...fields,
  }
}

function request(id: number, fields: Partial<RequestView> = {}): RequestView {
  return {
    id,
    key: null,
    kind: 'answer',
    state: 'waiting',
    prompt_tokens: 10,
    answer_tokens: 0,
    draft_tokens: 0,
    accepted_tokens: 0,
    slot: null,
    queued: id,
    started: null,
    first_token: null,
    ended: null,
    cache: null,
    ...fields,
  }
}

function steps(count: number, decode = 0, answers = 0): StepsView {
  return { steps: count, seconds: { decode, sample: 0 }, mask_seconds: 0, prompt_tokens: 0, answer_tokens: answers }
}

function state(time: number, fields: Partial<EngineView> = {}): RoomState {
  const engine = { slots: [], requests: [], steps: steps(0), ...fields } as unknown as EngineView
  return {
    time,
    server: { version: '1', started: 0, has_keys: false, shows_texts: true, has_one_model: true, memory_bytes: 0 },
    models: [],
    downloads: [],
    engines: { demo: engine },
  }
}

describe('an update', () => {
  it('changes the slots and requests that it names, and keeps the others', () => {
    const before = state(1, { slots: [slot(0), slot(1)], requests: [request(1)] })
    const after = merged(before, {
      time: 2,
      engines: { demo: { slots: [slot(1, { state: 'answer' })], requests: [request(2)] } },
    })
    expect(after.time).toBe(2)
    expect(after.engines.demo?.slots.map((one) => one.state)).toEqual(['idle', 'answer'])
    expect(after.engines.demo?.requests.map((one) => one.id)).toEqual([1, 2])
    expect(before.engines.demo?.requests).toHaveLength(1)
  })

  it('changes the fields that it names, and keeps the others', () => {
    const before = state(1, { slots: [slot(0, { state: 'answer', cells: 7 })], requests: [request(1, { key: 'alice' })] })
    const after = merged(before, {
      engines: { demo: { slots: [{ id: 0, cells: 9 }], requests: [{ id: 1, answer_tokens: 9 }] } },
    })
    expect(after.engines.demo?.slots).toEqual([slot(0, { state: 'answer', cells: 9 })])
    expect(after.engines.demo?.requests).toEqual([request(1, { key: 'alice', answer_tokens: 9 })])
  })

  it('forgets an engine that is gone, and learns of a new one', () => {
    const other = state(1).engines.demo as EngineView
    const after = merged(state(1), { engines: { demo: null, other } })
    expect(Object.keys(after.engines)).toEqual(['other'])
  })

  it('has no slots while an engine restarts', () => {
    const after = merged(state(1, { slots: [slot(0)] }), { engines: { demo: { slots: [] } } })
    expect(after.engines.demo?.slots).toEqual([])
  })

  it('forgets old requests that are over, and none that runs', () => {
    const over = Array.from({ length: MOST_REQUESTS + 9 }, (_, id) => request(id + 2, { ended: id + 3 }))
    const after = merged(state(1, { requests: [request(1)] }), { engines: { demo: { requests: over } } })
    const ids = after.engines.demo?.requests.map((one) => one.id) ?? []
    expect(ids).toHaveLength(MOST_REQUESTS + 1)
    expect(ids).toContain(1)
    expect(ids).not.toContain(2)
  })
})

describe('the history of steps', () => {
  it('has milliseconds a step and tokens a second, out of totals', () => {
    const history = new StepHistory()
    history.add(state(10, { steps: steps(100, 1, 0) }))
    history.add(state(11, { steps: steps(150, 1.5, 60) }))
    const [point] = history.of('demo')
    expect(point?.phases.decode).toBeCloseTo(10)
    expect(point?.answerPerSecond).toBeCloseTo(60)
    expect(rates(history.of('demo'), 11).answer).toBeCloseTo(60)
    expect(rates(history.of('demo'), 40).answer).toBe(0)
  })

  it('begins anew when the server did', () => {
    const history = new StepHistory()
    history.add(state(10, { steps: steps(100, 1) }))
    history.add(state(11, { steps: steps(150, 1.5) }))
    history.add(state(12, { steps: steps(3, 0.1) }))
    expect(history.of('demo')).toEqual([])
  })

  it('keeps a minute', () => {
    const history = new StepHistory()
    for (let time = 0; time < 200; time += 1) history.add(state(time, { steps: steps(time, time) }))
    expect(history.of('demo').length).toBeLessThanOrEqual(60)
  })
})

describe('the picture of prefixes', () => {
  const node = (id: number, parent: number | null, start: number, tokens: number): NodeView => ({
    id,
    parent,
    start,
    tokens,
    text: '',
    slots: [],
    saved: 0,
    from_disk: 0,
    checkpoints: 0,
    bytes: 0,
    hidden: 0,
    owner: null,
    adapters: false,
  })
  const tree = [node(1, null, 0, 0), node(2, 1, 0, 50), node(3, 2, 50, 50), node(4, 2, 50, 10), node(5, 1, 0, 20)]

  it('puts branches below each other, inside of what they share', () => {
    const layout = layoutOf(tree)
    expect(layout.tokens).toBe(100)
    expect(layout.rows).toBe(3)
    const boxes = new Map(layout.boxes.map((box) => [box.node.id, box]))
    expect(boxes.get(2)).toMatchObject({ left: 0, width: 0.5, top: 0, rows: 2 })
    expect(boxes.get(3)).toMatchObject({ left: 0.5, width: 0.5, top: 0, rows: 1 })
    expect(boxes.get(4)).toMatchObject({ left: 0.5, width: 0.1, top: 1, rows: 1 })
    expect(boxes.get(5)).toMatchObject({ left: 0, width: 0.2, top: 2, rows: 1 })
  })

  it('labels scopes where there are several', () => {
    const other = [{ ...node(10, null, 0, 0), owner: 'bob' }, node(11, 10, 0, 5)]
    expect(layoutOf(tree).labels).toEqual([])
    expect(layoutOf([...tree, ...other]).labels.map(({ root }) => root.owner)).toEqual([null, 'bob'])
  })

  it('shows nothing of scopes without tokens', () => {
    expect(layoutOf([node(1, null, 0, 0)]).boxes).toEqual([])
    expect(layoutOf([]).rows).toBe(0)
  })

  it.each([
    [{ slots: [0, 1] }, 'running'],
    [{ slots: [0], saved: 1 }, 'idle'],
    [{ saved: 2, from_disk: 1 }, 'memory'],
    [{ saved: 2, from_disk: 2 }, 'disk'],
  ])('tells the quickest place: %o', (fields, holder) => {
    expect(holderOf({ ...node(1, null, 0, 0), ...fields }, new Set([1]))).toBe(holder)
  })

  it.each([[7], [100], [512], [130_000]])('has few round ticks for %d tokens', (tokens) => {
    const ticks = ticksOf(tokens)
    expect(ticks.length).toBeGreaterThan(1)
    expect(ticks.length).toBeLessThan(9)
    expect(ticks.at(-1)).toBeLessThanOrEqual(tokens)
  })
})

describe('the timeline of a request', () => {
  it.each([
    [request(1, { queued: 1, started: 2, first_token: 4, ended: 8 }), [1, 2, 4, 7]],
    [request(1, { queued: 1 }), [9, 0, 0, 9]],
    [request(1, { queued: 1, started: 3 }), [2, 7, 0, 9]],
    [request(1, { queued: 1, started: 3, first_token: 9, ended: 9 }), [2, 6, 0, 8]],
    [request(1, { queued: 12 }), [0, 0, 0, 0]],
  ])('%#', (one, [queue, prefill, decode, total]) => {
    expect(timelineOf(one, 10)).toEqual({ queue, prefill, decode, total })
  })
})

describe('the cache in words', () => {
  const cache = (fields: Partial<CacheView>): CacheView => ({
    result: 'parted',
    source: 'copy',
    checkpoint: false,
    reused: 20,
    shared: 20,
    ...fields,
  })

  it('says where tokens came from', () => {
    expect(sourceText(cache({}), 30)).toBe('20 of 30 from another slot')
    expect(sourceText(cache({ source: 'host', checkpoint: true }), 30)).toContain('by a checkpoint')
    expect(sourceText(cache({ source: null, reused: 0 }), 30)).toBe('')
  })

  it.each(['whole', 'parted', 'new', 'off', 'no_checkpoint', 'no_copy', 'no_room'])('has words for %s', (result) => {
    expect(reasonText(cache({ result }))).toMatch(/^[A-Z].*\.$/)
  })

  it('tells what could not be used', () => {
    expect(reasonText(cache({ result: 'no_copy', reused: 3, shared: 900 }))).toContain('900 tokens')
  })
})

describe('numbers', () => {
  it('are short', () => {
    expect([bytes(0), bytes(1536), bytes(3 * 2 ** 30)]).toEqual(['0 B', '1.5 KiB', '3.0 GiB'])
    expect([short(7), short(1234), short(56_789), short(1_250_000), short(8_030_000_000)]).toEqual(['7', '1.2k', '57k', '1.3M', '8.0B'])
    expect([seconds(0.012), seconds(1.5), seconds(90), seconds(600)]).toEqual(['12 ms', '1.50 s', '90 s', '10 min'])
    expect([percent(1, 3), percent(1, 0)]).toEqual([33, 0])
    expect([roundedUp(7), roundedUp(11), roundedUp(0.3)]).toEqual([10, 20, 0.5])
  })

  it('become areas that lie on each other', () => {
    const point = { time: 60, steps: 1, phases: { a: 1, b: 1 }, promptPerSecond: 0, answerPerSecond: 0 }
    const [a, b] = areasOf([point], ['a', 'b'], { now: 60, most: 4, width: 100, height: 40 })
    expect(a).toBe('M100.0 30.0L100.0 40.0Z')
    expect(b).toBe('M100.0 20.0L100.0 30.0Z')
  })
})
