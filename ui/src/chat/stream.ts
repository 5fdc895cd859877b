// A streamed answer: the chunks of the API become steps of an answer.
import { ApiError, Unreachable, isRecord } from '../api/errors'
import { eventBatches, eventJson, type ServerEvent } from '../api/sse'
import { texts } from '../texts'
import { STREAM_FIELDS, type Body } from './request'
import type { Ending, Stats, ToolCall } from './model'

/** One step: what the chunk adds. */
export type Step =
  | { readonly kind: 'progress'; readonly share: number }
  | { readonly kind: 'thinking'; readonly text: string }
  | { readonly kind: 'content'; readonly text: string }
  | { readonly kind: 'call'; readonly index: number; readonly id: string; readonly name: string; readonly text: string }
  | { readonly kind: 'model'; readonly name: string }
  | { readonly kind: 'ending'; readonly ending: Ending }
  | { readonly kind: 'stats'; readonly stats: Omit<Stats, 'firstTokenMs'> }

/** The steps of the answer to a body, those together that came together. Raises `ApiError` and `Unreachable`. */
export async function* answerSteps(body: Body, signal: AbortSignal): AsyncGenerator<readonly Step[]> {
  let isWhole = false
  const options = { method: 'POST' as const, body: { ...body, ...STREAM_FIELDS }, signal }
  for await (const batch of eventBatches('v1/chat/completions', options)) {
    const { steps, failure, isOver } = stepsOfBatch(batch)
    isWhole ||= isOver
    yield steps
    if (failure !== null) throw failure
  }
  if (!isWhole) throw new Unreachable(texts.errors.broken)
}

/** The steps of events. Those before an error count: `failure` is null without one. */
export function stepsOfBatch(batch: readonly ServerEvent[]): { steps: Step[]; failure: unknown; isOver: boolean } {
  const steps: Step[] = []
  let isOver = false
  for (const event of batch) {
    if (event.data === '[DONE]') {
      isOver = true
      continue
    }
    try {
      steps.push(...stepsOf(event))
    } catch (failure) {
      return { steps, failure, isOver }
    }
  }
  return { steps, failure: null, isOver }
}

/** The steps of one event. Raises `ApiError` if the event is an error. */
export function stepsOf(event: ServerEvent): Step[] {
  const chunk = eventJson(event)
  const choice = Array.isArray(chunk.choices) ? (chunk.choices[0] as unknown) : undefined
  return [
    ...(typeof chunk.model === 'string' ? [{ kind: 'model', name: chunk.model } as const] : []),
    ...progressSteps(chunk.prompt_progress),
    ...(isRecord(choice) ? choiceSteps(choice) : []),
    ...(isRecord(chunk.prompt_progress) ? [] : statsSteps(chunk)),
  ]
}

function choiceSteps(choice: Record<string, unknown>): Step[] {
  const delta = isRecord(choice.delta) ? choice.delta : {}
  const steps: Step[] = []
  if (typeof delta.reasoning_content === 'string' && delta.reasoning_content) {
    steps.push({ kind: 'thinking', text: delta.reasoning_content })
  }
  if (typeof delta.content === 'string' && delta.content) steps.push({ kind: 'content', text: delta.content })
  if (Array.isArray(delta.tool_calls)) steps.push(...delta.tool_calls.filter(isRecord).map(callStep))
  if (typeof choice.finish_reason === 'string') steps.push({ kind: 'ending', ending: endingOf(choice.finish_reason) })
  return steps
}

function callStep(call: Record<string, unknown>): Step {
  const fn = isRecord(call.function) ? call.function : {}
  return {
    kind: 'call',
    index: Number(call.index) || 0,
    id: typeof call.id === 'string' ? call.id : '',
    name: typeof fn.name === 'string' ? fn.name : '',
    text: typeof fn.arguments === 'string' ? fn.arguments : '',
  }
}

function endingOf(reason: string): Ending {
  if (reason === 'length' || reason === 'tool_calls') return reason
  return 'stop'
}

function progressSteps(progress: unknown): Step[] {
  if (!isRecord(progress)) return []
  const total = Number(progress.total) || 0
  return total ? [{ kind: 'progress', share: Math.min(1, (Number(progress.processed) || 0) / total) }] : []
}

function statsSteps(chunk: Record<string, unknown>): Step[] {
  const timings = chunk.timings
  if (!isRecord(timings)) return []
  const number = (name: string): number => Number(timings[name]) || 0
  return [
    {
      kind: 'stats',
      stats: {
        promptTokens: number('cache_n') + number('prompt_n'),
        cachedTokens: number('cache_n'),
        answerTokens: number('predicted_n'),
        perSecond: number('predicted_per_second'),
        draftTokens: number('draft_n'),
        acceptedTokens: number('draft_n_accepted'),
      },
    },
  ]
}

/** An answer that grows by steps. */
export class GrowingAnswer {
  content: string
  thinking: string
  thinkingMs: number
  calls: ToolCall[] = []
  model = ''
  ending: Ending = ''
  stats: Stats | null = null
  /** The share of the prompt that is computed. */
  progress = 0
  private firstToken = 0
  private thinkingSince = 0

  /** `content` and `thinking` are what is continued. `clock` gives milliseconds. */
  constructor(
    private readonly clock: () => number,
    begun: { content: string; thinking: string; thinkingMs: number } = { content: '', thinking: '', thinkingMs: 0 },
  ) {
    this.content = begun.content
    this.thinking = begun.thinking
    this.thinkingMs = begun.thinkingMs
    this.start = clock()
  }

  private readonly start: number

  get hasBegun(): boolean {
    return this.firstToken > 0
  }

  get isThinking(): boolean {
    return this.thinkingSince > 0
  }

  take(step: Step): void {
    switch (step.kind) {
      case 'progress':
        this.progress = step.share
        return
      case 'model':
        this.model = step.name
        return
      case 'thinking':
        this.begin()
        if (!this.thinkingSince) this.thinkingSince = this.clock() - this.thinkingMs
        this.thinking += step.text
        return
      case 'content':
        this.begin()
        this.endThinking()
        this.content += step.text
        return
      case 'call':
        this.begin()
        this.endThinking()
        this.addCall(step)
        return
      case 'ending':
        this.endThinking()
        this.ending = step.ending
        return
      case 'stats':
        this.stats = { ...step.stats, firstTokenMs: this.firstToken ? this.firstToken - this.start : 0 }
    }
  }

  endThinking(): void {
    if (!this.thinkingSince) return
    this.thinkingMs = Math.max(1, this.clock() - this.thinkingSince)
    this.thinkingSince = 0
  }

  private begin(): void {
    if (!this.firstToken) this.firstToken = Math.max(this.clock(), this.start + 1)
  }

  private addCall(step: Extract<Step, { kind: 'call' }>): void {
    const known = this.calls[step.index]
    const call = known ?? { id: step.id, name: step.name, arguments: '' }
    this.calls = [...this.calls]
    this.calls[step.index] = { ...call, arguments: call.arguments + step.text }
  }
}

/** What to tell the user about an error. */
export function describeFailure(error: unknown): string {
  if (error instanceof ApiError) {
    const wait = error.status === 429 && error.retryAfter ? ` ${texts.endings.overloaded(error.retryAfter)}` : ''
    return error.message + wait
  }
  return error instanceof Error && error.message ? error.message : texts.errors.broken
}
