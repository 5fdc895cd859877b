// What a model would take of memory, and whether that fits: asked of the server when the user wants to know.
import { useEffect, useState } from 'preact/hooks'
import { getJson } from '../api/client'
import { bytes, count } from '../room/format'
import { texts } from '../texts'
import { partsOf, sentenceOf, type FitAnswer } from './fit'

const words = texts.models.plan

export function FitPanel({ model }: { model: string }) {
  const [tokens, setTokens] = useState('')
  const [answer, setAnswer] = useState<FitAnswer | null>(null)
  const [failure, setFailure] = useState('')
  const [isAsking, setIsAsking] = useState(false)
  const ask = async (): Promise<void> => {
    setIsAsking(true)
    setFailure('')
    const query = new URLSearchParams({ model, ...(tokens.trim() ? { ctx_size: tokens.trim() } : {}) })
    try {
      setAnswer(await getJson<FitAnswer>(`models/fit?${query}`))
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error))
    } finally {
      setIsAsking(false)
    }
  }
  useEffect(() => void ask(), [model])
  const submit = (event: Event): void => {
    event.preventDefault()
    void ask()
  }
  return (
    <div class="model-wide fit-panel" role="group" aria-label={words.label(model)}>
      {answer && <Plan answer={answer} />}
      {!answer && isAsking && (
        <p class="quiet" role="status">
          {words.asking}
        </p>
      )}
      {failure && (
        <p class="notice notice-error" role="alert">
          {failure}
        </p>
      )}
      <form class="fit-form" onSubmit={submit}>
        <label class="field">
          <span>{words.tokens}</span>
          <input
            class="input"
            inputMode="numeric"
            autocomplete="off"
            placeholder={answer ? count(answer.ctx_size) : ''}
            value={tokens}
            onInput={(event) => setTokens(event.currentTarget.value)}
          />
        </label>
        <button class="button" type="submit" disabled={isAsking}>
          {words.ask}
        </button>
      </form>
    </div>
  )
}

function Plan({ answer }: { answer: FitAnswer }) {
  return (
    <div role="status">
      <p>
        <strong class={answer.fits === 'no' ? 'request-bad' : ''}>{sentenceOf(answer)}</strong>{' '}
        <span class="quiet numbers">
          {words.context(answer.slots, count(answer.tokens_per_slot), count(answer.tokens_trained))}
        </span>
      </p>
      <dl class="fit-parts numbers">
        {partsOf(answer).map(([name, size]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{bytes(size)}</dd>
          </div>
        ))}
      </dl>
    </div>
  )
}
