// One model: its state, its memory, how long it stays, and what can be done with it.
import { useState } from 'preact/hooks'
import { postJson } from '../api/client'
import { notify } from '../parts/Toasts'
import { bytes, seconds, short } from '../room/format'
import type { EngineView, ModelView } from '../room/types'
import { texts } from '../texts'
import type { Fit } from './fit'
import { FitPanel } from './FitPanel'
import { memoryPartsOf } from './memory'

const words = texts.models

interface Props {
  readonly model: ModelView
  readonly engine: EngineView | undefined
  readonly isOnly: boolean
  /** Whether it would fit, while it is not loaded. */
  readonly fit: Fit
}

export function ModelRow({ model, engine, isOnly, fit }: Props) {
  const [isPlanned, setIsPlanned] = useState(false)
  return (
    <li class="model-card">
      <div>
        <h2 class="model-title">{model.name}</h2>
        <p class="model-more">{moreOf(model, engine)}</p>
      </div>
      <div class="model-state">
        <span class={`chip chip-${model.state}`}>{words.states[model.state]}</span>
        {model.users > 0 && <span class="quiet numbers">{words.users(model.users)}</span>}
      </div>
      <div class="model-more numbers">
        <p>
          {memoryOf(model)}
          {fit !== 'unknown' && <span class={fit === 'never' ? 'request-bad' : ''}> · {words.fits[fit]}</span>}
        </p>
        <p>{staysOf(model, Date.now() / 1000)}</p>
      </div>
      <div class="model-actions">
        <button
          class="button"
          aria-expanded={isPlanned}
          aria-label={words.plan.showOf(model.name)}
          onClick={() => setIsPlanned(!isPlanned)}
        >
          {words.plan.show}
        </button>
        {!isOnly && <LoadButton model={model} />}
      </div>
      {model.state === 'loading' && model.progress !== null && <Progress model={model} share={model.progress} />}
      {model.state === 'failed' && model.failure && <p class="notice notice-error model-wide">{model.failure}</p>}
      {isPlanned && <FitPanel model={model.name} />}
      {!isPlanned && engine && engine.facts.state === 'ready' && <MemoryParts engine={engine} />}
    </li>
  )
}

function LoadButton({ model }: { model: ModelView }) {
  const [isAsking, setIsAsking] = useState(false)
  const isIn = model.state === 'loaded' || model.state === 'loading'
  const isBusy = isAsking || model.state === 'unloading'
  const act = async (): Promise<void> => {
    setIsAsking(true)
    try {
      await postJson(isIn ? 'models/unload' : 'models/load', { model: model.name })
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), 'error')
    } finally {
      setIsAsking(false)
    }
  }
  return (
    <button
      class={isIn ? 'button' : 'button button-main'}
      disabled={isBusy}
      aria-label={isIn ? words.unloadOf(model.name) : words.loadOf(model.name)}
      onClick={() => void act()}
    >
      {isIn ? words.unload : words.load}
    </button>
  )
}

function Progress({ model, share }: { model: ModelView; share: number }) {
  const percent = Math.round(100 * share)
  return (
    <progress class="progress model-wide" max={1} value={share} aria-label={words.progressOf(model.name, percent)} />
  )
}

/** What the cells and the weights take, where the engine tells. */
function MemoryParts({ engine }: { engine: EngineView }) {
  return (
    <p class="model-more model-wide numbers">
      {memoryPartsOf(engine.facts)
        .map(([name, size]) => `${name} ${bytes(size)}`)
        .join(' · ')}
    </p>
  )
}

function moreOf(model: ModelView, engine: EngineView | undefined): string {
  const parts = []
  if (engine?.facts.description) {
    // llama.cpp has names for the usual sizes only.
    parts.push(engine.facts.description.replace('?B', short(engine.facts.parameters)))
  }
  if (model.aliases.length) parts.push(words.alsoKnownAs(model.aliases.filter((name) => name !== model.name).join(', ')))
  parts.push(...model.tags)
  return parts.filter((part) => part !== words.alsoKnownAs('')).join(' · ')
}

function memoryOf(model: ModelView): string {
  const parts = []
  if (model.host_bytes) parts.push(words.host(bytes(model.host_bytes)))
  if (model.device_bytes) parts.push(words.device(bytes(model.device_bytes)))
  return parts.join(' · ') || words.unknown
}

function staysOf(model: ModelView, now: number): string {
  if (model.state === 'loaded') {
    if (model.pinned) return words.pinned
    if (model.expires !== null) return words.expires(seconds(Math.max(model.expires - now, 0)))
  }
  if (model.state !== 'loaded' && model.last_used !== null) return words.used(seconds(Math.max(now - model.last_used, 0)))
  if (model.keep_alive !== null) return words.keepAlive(seconds(model.keep_alive))
  return model.state === 'loaded' ? words.forEver : ''
}
