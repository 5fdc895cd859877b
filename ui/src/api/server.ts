// What the page knows of the server: its models, what they can take, and whether the server answers.
import { computed, signal } from '@preact/signals'
import { isRecord, Unreachable } from './errors'
import { getJson } from './client'

export interface ModelEntry {
  readonly id: string
  readonly aliases: readonly string[]
  /** loaded, unloaded, loading, failed, ...; "loaded" where the server doesn't say. */
  readonly state: string
  /** What the model can take, where the list says it. */
  readonly modalities: Modalities | null
}

export interface Modalities {
  readonly vision: boolean
  readonly audio: boolean
}

/** The facts of one loaded model. */
export interface ModelFacts {
  readonly name: string
  readonly modalities: Modalities
  readonly slotTokens: number
  readonly slots: number
  readonly fileType: string
  readonly build: string
  /** Most MiB of a request. */
  readonly bodyMib: number
  readonly canCallTools: boolean
  /** The server's defaults of a request, by field. */
  readonly defaults: Readonly<Record<string, unknown>>
}

export const models = signal<readonly ModelEntry[]>([])

/** The facts by the model's name; "" is the server's own choice. */
export const facts = signal<ReadonlyMap<string, ModelFacts>>(new Map())

/** Whether the server answered last. */
export const isReachable = signal(true)

/** The model of conversations that name none: one that is loaded, or the first. */
export const firstModel = computed(() => (models.value.find((one) => one.state === 'loaded') ?? models.value[0])?.id ?? '')

export function entryOf(model: string): ModelEntry | undefined {
  return models.value.find((one) => one.id === model || one.aliases.includes(model))
}

/** The model that a request names. A server with one model needs no name. */
export function requestedModel(model: string): string {
  return model || (models.value.length > 1 ? firstModel.value : '')
}

/** What the model of a conversation can take; undefined while nobody knows. */
export function modalitiesOf(model: string): Modalities | undefined {
  const asked = requestedModel(model)
  return factsOf(asked)?.modalities ?? entryOf(asked)?.modalities ?? undefined
}

/** The facts of the model that a conversation uses; undefined while they are not known. */
export function factsOf(model: string): ModelFacts | undefined {
  if (model === '' && models.value.length > 1) return facts.value.get(firstModel.value)
  return facts.value.get(model) ?? (model === '' || models.value.length < 2 ? facts.value.get('') : undefined)
}

/** Ask the server what it serves. Never raises: the page works without, as far as it can. */
export async function refreshServer(): Promise<void> {
  try {
    const list = await getJson<unknown>('v1/models')
    models.value = modelEntries(list)
    isReachable.value = true
    await learn('')
  } catch (error) {
    if (error instanceof Unreachable) isReachable.value = false
  }
}

/** Ask for the facts of a model, unless that would load the model. */
export async function learn(model: string): Promise<void> {
  const asked = requestedModel(model)
  if (asked !== '' && entryOf(asked)?.state !== 'loaded') return
  try {
    const query = asked ? `?model=${encodeURIComponent(asked)}` : ''
    const props = await getJson<unknown>(`props${query}`)
    if (isRecord(props)) facts.value = new Map(facts.value).set(asked, factsFrom(props))
  } catch {
    // A model that still loads: the next refresh asks again.
  }
}

/** Resolves when the server answers again. */
export async function untilBack(signal: AbortSignal): Promise<void> {
  isReachable.value = false
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 1000))
    try {
      await getJson('health', { mayAsk: false, signal })
      isReachable.value = true
      return
    } catch {
      // Still away, or the model still loads.
    }
  }
}

/** The models that can answer; one that is still being downloaded can't. */
export function modelEntries(list: unknown): ModelEntry[] {
  const data = isRecord(list) && Array.isArray(list.data) ? list.data : []
  const entries = data.filter(isRecord).map((model) => ({
    id: String(model.id),
    aliases: Array.isArray(model.aliases) ? model.aliases.map(String) : [],
    state: isRecord(model.status) ? String(model.status.value) : 'loaded',
    modalities: modalitiesFrom(model.architecture),
  }))
  return entries.filter((entry) => entry.state !== 'downloading')
}

function modalitiesFrom(architecture: unknown): Modalities | null {
  if (!isRecord(architecture) || !Array.isArray(architecture.input_modalities)) return null
  const inputs: unknown[] = architecture.input_modalities
  return { vision: inputs.includes('image'), audio: inputs.includes('audio') }
}

export function factsFrom(props: Record<string, unknown>): ModelFacts {
  const modalities = isRecord(props.modalities) ? props.modalities : {}
  const caps = isRecord(props.chat_template_caps) ? props.chat_template_caps : {}
  const defaults = isRecord(props.default_generation_settings) ? props.default_generation_settings : {}
  const bounds = isRecord(props.request_bounds) ? props.request_bounds : {}
  return {
    name: String(props.model_alias ?? ''),
    modalities: { vision: modalities.vision === true, audio: modalities.audio === true },
    slotTokens: Number(defaults.n_ctx) || 0,
    slots: Number(props.total_slots) || 0,
    fileType: String(props.model_ftype ?? ''),
    build: String(props.build_info ?? ''),
    bodyMib: Number(bounds.body_mib) || 16,
    canCallTools: caps.supports_tools === true,
    defaults: isRecord(defaults.params) ? defaults.params : {},
  }
}
