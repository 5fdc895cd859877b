// What the models view makes of facts.
import { describe, expect, it } from 'vitest'
import type { ModelView } from '../room/types'
import { fitOf, partsOf, sentenceOf, takenBy, type FitAnswer } from './fit'
import { memoryPartsOf } from './memory'

function model(state: ModelView['state'], bytes: number | null): ModelView {
  return { name: state, state, host_bytes: bytes } as ModelView
}

describe('the memory of a loaded model', () => {
  const facts = { model_bytes: 1000, cell_bytes: 10, context: 50 } as Parameters<typeof memoryPartsOf>[0]

  it('is weights and cells', () => {
    expect(memoryPartsOf(facts).map(([, bytes]) => bytes)).toEqual([1000, 500])
  })

  it('has no cells where a model has none', () => {
    expect(memoryPartsOf({ ...facts, cell_bytes: 0 })).toHaveLength(1)
  })
})

describe('a model that is not loaded', () => {
  const models = [model('loaded', 60), model('sleeping', 500), model('failed', null), model('unloading', 10)]

  it.each([
    [30, 'beside'],
    [31, 'instead'],
    [100, 'instead'],
    [101, 'never'],
    [null, 'unknown'],
  ] as const)('of %s bytes: %s', (bytes, fit) => {
    expect(takenBy(models)).toBe(70)
    expect(fitOf(model('unloaded', bytes), models, 100)).toBe(fit)
  })

  it('is not judged without the memory of the machine', () => {
    expect(fitOf(model('unloaded', 10), models, 0)).toBe('unknown')
  })
})

describe('the plan of a model', () => {
  const mib = 1024 * 1024
  const answer: FitAnswer = {
    state: 'unloaded',
    fits: 'beside',
    slots: 2,
    ctx_size: 512,
    tokens_per_slot: 256,
    tokens_trained: 2048,
    memory: { host: 300 * mib, device: 0, parts: { kv: 10, weights: 20, state: 0, other: 5 }, saved_prefixes: 0 },
    lacking: { host: 0, device: 0 },
    free: { host: 0, device: 0 },
  }

  it('says what it takes and where, and whether that fits', () => {
    expect(sentenceOf(answer)).toBe('300 MiB RAM: fits beside the loaded models.')
    expect(sentenceOf({ ...answer, state: 'loaded' })).toBe('300 MiB RAM: fits.')
    const both = { ...answer, memory: { ...answer.memory, device: 100 * mib } }
    expect(sentenceOf({ ...both, fits: 'instead' })).toBe('300 MiB RAM, 100 MiB GPU: fits once other models are unloaded.')
    expect(sentenceOf({ ...answer, fits: 'no', lacking: { host: 7 * mib, device: 3 * mib } })).toContain('10.0 MiB too large')
  })

  it('names the parts that take something, the largest first', () => {
    expect(partsOf(answer)).toEqual([
      ['Weights', 20],
      ['KV cache', 10],
      ['other', 5],
    ])
  })
})
