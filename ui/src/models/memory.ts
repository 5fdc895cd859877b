// What a loaded model's memory is made of.
import type { EngineView } from '../room/types'
import { texts } from '../texts'

/** Bytes of the weights and of the cells of all slots. */
export function memoryPartsOf(facts: EngineView['facts']): ReadonlyArray<readonly [name: string, bytes: number]> {
  const parts: Array<readonly [string, number]> = [[texts.models.weights, facts.model_bytes]]
  if (facts.cell_bytes) parts.push([texts.models.kv, facts.cell_bytes * facts.context])
  return parts
}
