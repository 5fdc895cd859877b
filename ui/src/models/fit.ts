// Whether a model that is not loaded fits into the machine's memory, beside the models that are.
import { bytes } from '../room/format'
import type { ModelView } from '../room/types'
import { texts } from '../texts'

export type Fit = 'beside' | 'instead' | 'never' | 'unknown'

/** Bytes of memory that the loaded models take. */
export function takenBy(models: readonly ModelView[]): number {
  return models.filter(isIn).reduce((sum, model) => sum + (model.host_bytes ?? 0), 0)
}

/** Whether a model fits beside the loaded ones, only if some of them go, or not at all. */
export function fitOf(model: ModelView, models: readonly ModelView[], memory: number): Fit {
  if (!model.host_bytes || !memory) return 'unknown'
  if (model.host_bytes > memory) return 'never'
  return model.host_bytes <= memory - takenBy(models) ? 'beside' : 'instead'
}

export function isIn(model: ModelView): boolean {
  return model.state === 'loaded' || model.state === 'loading' || model.state === 'unloading'
}

interface Bytes {
  readonly host: number
  readonly device: number
}

/** What `GET /models/fit` tells; docs/fit.md explains every field. */
export interface FitAnswer {
  readonly state: ModelView['state']
  readonly fits: 'beside' | 'instead' | 'no'
  readonly slots: number
  readonly ctx_size: number
  readonly tokens_per_slot: number
  readonly tokens_trained: number
  readonly memory: Bytes & { readonly parts: Readonly<Record<string, number>>; readonly saved_prefixes: number }
  readonly lacking: Bytes
  readonly free: Bytes
}

/** What a model takes, where, and whether it fits. */
export function sentenceOf({ state, fits, memory, lacking }: FitAnswer): string {
  const words = texts.models
  const places = [
    ...(memory.host ? [words.host(bytes(memory.host))] : []),
    ...(memory.device ? [words.device(bytes(memory.device))] : []),
  ]
  const verdicts = {
    beside: state === 'loaded' ? words.plan.fits : words.plan.beside,
    instead: words.plan.instead,
    no: words.plan.no(bytes(lacking.host + lacking.device)),
  }
  return `${places.join(', ')}: ${verdicts[fits]}`
}

/** The parts that take something, the largest first. */
export function partsOf({ memory }: FitAnswer): ReadonlyArray<readonly [name: string, bytes: number]> {
  const named = Object.entries(memory.parts).map(([part, size]) => [texts.models.plan.parts[part] ?? part, size] as const)
  return named.filter(([, size]) => size > 0).sort(([, one], [, other]) => other - one)
}
