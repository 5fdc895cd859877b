// What the models view makes of pulls and of facts.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ApiError, Unreachable } from '../api/errors'
import { memoryPartsOf } from './memory'
import { FileTotals, pulled, type PullProgress } from './pulling'

function answer(lines: readonly string[], pieces = 7): void {
  const text = new TextEncoder().encode(lines.join('\n') + '\n')
  const body = new ReadableStream({
    start(controller) {
      for (let at = 0; at < text.length; at += pieces) controller.enqueue(text.slice(at, at + pieces))
      controller.close()
    },
  })
  vi.stubGlobal('document', { baseURI: 'http://here/' })
  vi.stubGlobal('fetch', () => Promise.resolve(new Response(body)))
}

async function all(model = 'a/b'): Promise<PullProgress[]> {
  const steps = []
  for await (const step of pulled(model, new AbortController().signal)) steps.push(step)
  return steps
}

afterEach(() => vi.unstubAllGlobals())

describe('a pull', () => {
  it('adds up its files, in whatever pieces the lines come', async () => {
    answer([
      '{"status":"pulling manifest"}',
      '{"status":"pulling a","digest":"a","total":100,"completed":40}',
      '{"status":"pulling b","digest":"b","total":50,"completed":50}',
      '{"status":"success"}',
    ])
    expect((await all()).map(({ completed, total }) => [completed, total])).toEqual([
      [0, 0],
      [40, 100],
      [90, 150],
      [90, 150],
    ])
  })

  it('fails with the words of the server', async () => {
    answer(['{"status":"pulling manifest"}', '{"error":"no such model"}'])
    await expect(all()).rejects.toThrow(new ApiError(500, 'no such model'))
  })

  it('is not complete when the connection breaks', async () => {
    answer(['{"status":"pulling a","digest":"a","total":100,"completed":40}'])
    await expect(all()).rejects.toThrow(Unreachable)
  })

  it('takes steps without numbers', () => {
    expect(new FileTotals().after({ status: 'x', digest: 'a' })).toEqual({ status: 'x', completed: 0, total: 0 })
  })
})

describe('the memory of a loaded model', () => {
  const facts = { model_bytes: 1000, cell_bytes: 10, context: 50 } as Parameters<typeof memoryPartsOf>[0]

  it('is weights and cells', () => {
    expect(memoryPartsOf(facts).map(([, bytes]) => bytes)).toEqual([1000, 500])
  })

  it('has no cells where a model has none', () => {
    expect(memoryPartsOf({ ...facts, cell_bytes: 0 })).toHaveLength(1)
  })
})
