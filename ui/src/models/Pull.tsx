// A form that lets the server pull a model. The server tells how far it is to everybody who looks.
import { useRef, useState } from 'preact/hooks'
import { ApiError } from '../api/errors'
import { notify } from '../parts/Toasts'
import { bytes } from '../room/format'
import { Section } from '../room/Section'
import { texts } from '../texts'
import { pulled, type PullProgress } from './pulling'

const words = texts.models

export function Pull() {
  const [name, setName] = useState('')
  const [progress, setProgress] = useState<PullProgress | null>(null)
  const [failure, setFailure] = useState('')
  const running = useRef<AbortController | null>(null)
  const submit = (event: Event): void => {
    event.preventDefault()
    const wanted = name.trim()
    if (wanted) void pull(wanted)
  }
  const pull = async (wanted: string): Promise<void> => {
    const controller = new AbortController()
    running.current = controller
    setFailure('')
    setProgress({ status: '', completed: 0, total: 0 })
    try {
      for await (const step of pulled(wanted, controller.signal)) setProgress(step)
      notify(words.pulled(wanted))
      setName('')
    } catch (error) {
      if (!controller.signal.aborted) setFailure(words.pullFailed(wanted, messageOf(error)))
    } finally {
      setProgress(null)
    }
  }
  return (
    <Section title={words.pull}>
      <form class="pull-form" onSubmit={submit}>
        <label class="field">
          <span>{words.pullLabel}</span>
          <input
            class="input mono"
            name="model"
            autocomplete="off"
            spellcheck={false}
            placeholder={words.pullPlaceholder}
            value={name}
            disabled={progress !== null}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        {progress ? (
          <button class="button" type="button" aria-label={words.stopOf(name)} onClick={() => running.current?.abort()}>
            {words.stop}
          </button>
        ) : (
          <button class="button button-main" type="submit" disabled={!name.trim()}>
            {words.pullButton}
          </button>
        )}
      </form>
      {progress && <Progress name={name} progress={progress} />}
      {failure && (
        <p class="notice notice-error" role="alert">
          {failure}
        </p>
      )}
      <p class="field-help">{words.pullHelp}</p>
    </Section>
  )
}

function Progress({ name, progress }: { name: string; progress: PullProgress }) {
  const { completed, total, status } = progress
  const percent = total ? Math.round((100 * completed) / total) : 0
  return (
    <div class="download">
      <span class="quiet">{status || words.downloadStates.running}</span>
      <span class="numbers quiet">{total > 0 && words.of(bytes(completed), bytes(total))}</span>
      <progress class="progress" aria-label={words.progressOf(name, percent)} {...(total ? { max: total, value: completed } : {})} />
    </div>
  )
}

function messageOf(error: unknown): string {
  if (error instanceof ApiError && error.status === 403) return words.noRights
  return error instanceof Error ? error.message : String(error)
}
