// The question for an API key, when the server wants one.
import { useState } from 'preact/hooks'
import { Dialog } from '../parts/Dialog'
import { giveKey, keyQuestion, refuseKey } from '../api/key'
import { texts } from '../texts'

export function KeyDialog() {
  const [key, setKey] = useState('')
  const reason = keyQuestion.value
  const submit = (event: Event): void => {
    event.preventDefault()
    const given = key.trim()
    if (!given) return
    setKey('')
    giveKey(given)
  }
  return (
    <Dialog title={texts.key.title} isOpen={reason !== null} onClose={refuseKey}>
      <form class="stack" onSubmit={submit}>
        <p class="quiet">{texts.key.help}</p>
        {reason && (
          <p class="notice notice-error" role="alert">
            {texts.key.wrong}
          </p>
        )}
        <label class="field">
          <span>{texts.key.label}</span>
          <input
            class="input mono"
            type="password"
            name="key"
            autocomplete="off"
            autofocus
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
          />
        </label>
        <div class="row-end">
          <button class="button" type="button" onClick={refuseKey}>
            {texts.common.cancel}
          </button>
          <button class="button button-main" type="submit" disabled={!key.trim()}>
            {texts.key.use}
          </button>
        </div>
      </form>
    </Dialog>
  )
}
