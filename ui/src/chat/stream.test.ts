import { describe, expect, it } from 'vitest'
import { GrowingAnswer, stepsOf, stepsOfBatch } from './stream'

const chunk = (fields: object) => ({ name: 'message', id: '', data: JSON.stringify({ model: 'm', ...fields }) })
const delta = (fields: object, finish: string | null = null) => chunk({ choices: [{ index: 0, delta: fields, finish_reason: finish }] })

function grown(...events: ReturnType<typeof chunk>[]): GrowingAnswer {
  let now = 0
  const answer = new GrowingAnswer(() => (now += 100))
  for (const event of events) for (const step of stepsOf(event)) answer.take(step)
  return answer
}

const TIMINGS = { cache_n: 6, prompt_n: 4, predicted_n: 3, predicted_per_second: 50, draft_n: 4, draft_n_accepted: 2 }

describe('a streamed answer', () => {
  it('collects thinking, text and figures', () => {
    const answer = grown(
      delta({ role: 'assistant', content: null }),
      chunk({ prompt_progress: { total: 10, cache: 6, processed: 8 }, choices: [], timings: TIMINGS }),
      delta({ reasoning_content: 'Hm' }),
      delta({ reasoning_content: 'm.' }),
      delta({ content: 'Par' }),
      delta({ content: 'is' }),
      delta({}, 'stop'),
      chunk({ choices: [], timings: TIMINGS }),
    )
    expect([answer.model, answer.thinking, answer.content, answer.ending]).toEqual(['m', 'Hmm.', 'Paris', 'stop'])
    expect(answer.progress).toBe(0.8)
    expect(answer.isThinking).toBe(false)
    expect(answer.thinkingMs).toBeGreaterThan(0)
    expect(answer.stats).toMatchObject({ promptTokens: 10, cachedTokens: 6, answerTokens: 3, perSecond: 50, draftTokens: 4, acceptedTokens: 2 })
    expect(answer.stats!.firstTokenMs).toBeGreaterThan(0)
  })

  it('joins the pieces of several calls', () => {
    const call = (index: number, fields: object) => delta({ tool_calls: [{ index, ...fields }] })
    const answer = grown(
      call(0, { id: 'a', function: { name: 'f', arguments: '' } }),
      call(0, { function: { arguments: '{"x"' } }),
      call(0, { function: { arguments: ': 1}' } }),
      call(1, { id: 'b', function: { name: 'g', arguments: '{}' } }),
      delta({}, 'tool_calls'),
    )
    expect(answer.calls).toEqual([
      { id: 'a', name: 'f', arguments: '{"x": 1}' },
      { id: 'b', name: 'g', arguments: '{}' },
    ])
    expect(answer.ending).toBe('tool_calls')
  })

  it('continues what is there', () => {
    const answer = new GrowingAnswer(() => 5, { content: 'The capital', thinking: 'Hm.', thinkingMs: 7 })
    for (const step of stepsOf(delta({ content: ' is' }))) answer.take(step)
    expect([answer.content, answer.thinking, answer.thinkingMs]).toEqual(['The capital is', 'Hm.', 7])
  })

  it('keeps what came together with an error, and knows the end', () => {
    const broken = { name: 'error', id: '', data: JSON.stringify({ error: { message: 'away', code: 503 } }) }
    const batch = stepsOfBatch([delta({ content: 'Par' }), broken, delta({ content: 'is' })])
    expect(batch.steps).toContainEqual({ kind: 'content', text: 'Par' })
    expect(batch.steps).not.toContainEqual({ kind: 'content', text: 'is' })
    expect(batch.failure).toMatchObject({ status: 503 })
    const last = stepsOfBatch([delta({}, 'stop'), { name: 'message', id: '', data: '[DONE]' }])
    expect([last.failure, last.isOver]).toEqual([null, true])
  })
})
