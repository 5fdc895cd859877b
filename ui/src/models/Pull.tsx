// A form that lets the server download a model. The list of downloads tells how far it is.
import { useState } from 'preact/hooks'
import { postJson } from '../api/client'
import { notify } from '../parts/Toasts'
import { Section } from '../room/Section'
import { texts } from '../texts'

const words = texts.models

export function Pull() {
  const [name, setName] = useState('')
  const [isAsking, setIsAsking] = useState(false)
  const [failure, setFailure] = useState('')
  const submit = (event: Event): void => {
    event.preventDefault()
    if (name.trim()) void pull(name.trim())
  }
  const pull = async (wanted: string): Promise<void> => {
    setIsAsking(true)
    setFailure('')
    try {
      await postJson('models', { model: wanted })
      notify(words.pulling(wanted))
      setName('')
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error))
    } finally {
      setIsAsking(false)
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
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <button class="button button-main" type="submit" disabled={isAsking || !name.trim()}>
          {words.pullButton}
        </button>
      </form>
      {failure && (
        <p class="notice notice-error" role="alert">
          {failure}
        </p>
      )}
      <p class="field-help">{words.pullHelp}</p>
    </Section>
  )
}
