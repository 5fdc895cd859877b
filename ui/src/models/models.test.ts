// What the models view makes of facts.
import { describe, expect, it } from 'vitest'
import type { ModelView } from '../room/types'
import { fitOf, takenBy } from './fit'
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
