// Whether a model that is not loaded fits into the machine's memory, beside the models that are.
import type { ModelView } from '../room/types'

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
