// What steps took over the last minute, made out of totals: totals survive updates that were missed.
import type { RoomState, StepsView } from './types'

/** Seconds of the chart. */
export const WINDOW = 60

const INTERVAL = 0.5

/** After such a silence the server was at rest: work that begins is not spread over the rest. */
const REST = 3

export interface Point {
  /** Unix time of the interval's end. */
  readonly time: number
  readonly steps: number
  /** Milliseconds of one step by phase, on average. */
  readonly phases: Readonly<Record<string, number>>
  readonly promptPerSecond: number
  readonly answerPerSecond: number
}

interface Mark {
  readonly time: number
  readonly steps: StepsView
}

export class StepHistory {
  private readonly marks = new Map<string, Mark>()
  private readonly lines = new Map<string, readonly Point[]>()

  /** Note the totals of a state. */
  add(state: RoomState): void {
    for (const [name, engine] of Object.entries(state.engines)) {
      const before = this.marks.get(name)
      if (before && engine.steps.steps < before.steps.steps) this.lines.delete(name)
      if (before && state.time - before.time < INTERVAL) continue
      this.marks.set(name, { time: state.time, steps: engine.steps })
      if (!before || engine.steps.steps < before.steps.steps || state.time - before.time > REST) continue
      const point = pointOf(before, { time: state.time, steps: engine.steps })
      const points = [...(this.lines.get(name) ?? []), point]
      this.lines.set(
        name,
        points.filter(({ time }) => time > state.time - WINDOW),
      )
    }
  }

  /** The points of an engine, the oldest first. */
  of(engine: string): readonly Point[] {
    return this.lines.get(engine) ?? []
  }

  /** The points of all engines as they are now: what comes later does not change them. */
  get all(): ReadonlyMap<string, readonly Point[]> {
    return new Map(this.lines)
  }
}

function pointOf(before: Mark, after: Mark): Point {
  const steps = after.steps.steps - before.steps.steps
  const seconds = Math.max(after.time - before.time, 1e-3)
  const phases: Record<string, number> = {}
  for (const [phase, total] of Object.entries(after.steps.seconds)) {
    const spent = total - (before.steps.seconds[phase] ?? 0)
    phases[phase] = steps ? (1000 * spent) / steps : 0
  }
  return {
    time: after.time,
    steps,
    phases,
    promptPerSecond: (after.steps.prompt_tokens - before.steps.prompt_tokens) / seconds,
    answerPerSecond: (after.steps.answer_tokens - before.steps.answer_tokens) / seconds,
  }
}

/** Tokens per second over the last seconds. */
export function rates(points: readonly Point[], now: number, seconds = 3): { prompt: number; answer: number } {
  const latest = points.filter((point) => point.time > now - seconds)
  const mean = (of: (point: Point) => number): number =>
    latest.length ? latest.reduce((sum, point) => sum + of(point), 0) / latest.length : 0
  return { prompt: mean((point) => point.promptPerSecond), answer: mean((point) => point.answerPerSecond) }
}
