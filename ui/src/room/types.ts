// What `GET /v1/events` tells. docs/events.md explains every field.

export interface CacheView {
  readonly result: string
  readonly source: string | null
  readonly checkpoint: boolean
  readonly reused: number
  readonly shared: number
}

export interface SlotView {
  readonly id: number
  readonly state: 'idle' | 'prompt' | 'answer' | 'late'
  readonly request: number | null
  readonly key: string | null
  readonly prompt_tokens: number
  readonly computed_tokens: number
  readonly cached_tokens: number
  readonly answer_tokens: number
  readonly cells: number
  readonly tokens_per_second: number
  readonly cache: CacheView | null
}

export interface WaitingView {
  readonly request: number
  readonly key: string | null
  readonly prompt_tokens: number
  readonly priority: number
  readonly queued: number
}

export interface NodeView {
  readonly id: number
  readonly parent: number | null
  readonly start: number
  readonly tokens: number
  readonly text: string | null
  readonly slots: readonly number[]
  readonly saved: number
  readonly from_disk: number
  readonly checkpoints: number
  readonly bytes: number
  readonly hidden: number
  readonly owner: string | null
  readonly adapters: boolean
}

export interface RequestView {
  readonly id: number
  readonly key: string | null
  readonly kind: 'answer' | 'embedding'
  readonly state: string
  readonly prompt_tokens: number
  readonly answer_tokens: number
  readonly draft_tokens: number
  readonly accepted_tokens: number
  readonly slot: number | null
  readonly queued: number
  readonly started: number | null
  readonly first_token: number | null
  readonly ended: number | null
  readonly cache: CacheView | null
}

export interface KeyView {
  readonly key: string
  readonly requests: number
  readonly prompt_tokens: number
  readonly cached_tokens: number
  readonly answer_tokens: number
}

export interface StepsView {
  readonly steps: number
  readonly seconds: Readonly<Record<string, number>>
  readonly mask_seconds: number
  readonly prompt_tokens: number
  readonly answer_tokens: number
}

export interface SpeculationView {
  readonly methods: readonly string[]
  readonly drafts: number
  readonly draft_tokens: number
  readonly accepted_tokens: number
  readonly accepted_by_position: readonly number[]
}

export interface EngineView {
  readonly facts: {
    readonly state: 'ready' | 'loading' | 'restarting' | 'down'
    readonly message: string
    readonly deaths: number
    readonly description: string
    readonly parameters: number
    readonly model_bytes: number
    readonly slots: number
    readonly context: number
    readonly slot_context: number
    readonly cell_bytes: number
  }
  readonly slots: readonly SlotView[]
  readonly queue: {
    readonly waiting: number
    readonly waiting_tokens: number
    readonly capacity: number
    readonly preemptions: number
    readonly first: readonly WaitingView[]
  }
  readonly cells: { readonly total: number; readonly running: number; readonly idle: number }
  readonly memory: {
    readonly used: number
    readonly capacity: number
    readonly prefixes: number
    readonly checkpoints: number
  }
  readonly prefixes: { readonly nodes: readonly NodeView[]; readonly hidden_scopes: number }
  readonly speculation: SpeculationView
  readonly steps: StepsView
  readonly keys: readonly KeyView[]
  readonly requests: readonly RequestView[]
}

export interface ModelView {
  readonly name: string
  readonly aliases: readonly string[]
  readonly state: 'unloaded' | 'loading' | 'loaded' | 'unloading' | 'sleeping' | 'failed'
  readonly failure: string
  readonly host_bytes: number | null
  readonly device_bytes: number | null
  readonly pinned: boolean
  readonly keep_alive: number | null
  readonly expires: number | null
  readonly last_used: number | null
  readonly loaded: number | null
  readonly progress: number | null
  readonly users: number
  readonly tags: readonly string[]
}

export interface DownloadView {
  readonly model: string
  readonly state: 'running' | 'finished' | 'failed' | 'cancelled'
  readonly completed: number
  readonly total: number
  readonly message: string
}

export interface RoomState {
  readonly time: number
  readonly server: {
    readonly version: string
    readonly started: number
    readonly has_keys: boolean
    readonly shows_texts: boolean
    readonly has_one_model: boolean
    readonly memory_bytes: number
  }
  readonly models: readonly ModelView[]
  readonly downloads: readonly DownloadView[]
  readonly engines: Readonly<Record<string, EngineView>>
}

/** What changed of an item of a list. */
export type ItemChange<T extends { readonly id: number }> = Partial<T> & Pick<T, 'id'>

/** What changed of an engine: of its slots and requests, the ones that changed. */
export type EngineChange = Partial<Omit<EngineView, 'slots' | 'requests'>> & {
  readonly slots?: ReadonlyArray<ItemChange<SlotView>>
  readonly requests?: ReadonlyArray<ItemChange<RequestView>>
}

/** An update: what changed. A null engine is gone. */
export type Change = Partial<Omit<RoomState, 'engines'>> & {
  readonly engines?: Readonly<Record<string, EngineChange | null>>
}
