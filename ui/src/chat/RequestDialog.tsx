// The request of an answer, as curl, as Python and as JSON.
import { useEffect, useState } from 'preact/hooks'
import { urlOf } from '../api/client'
import { apiKey } from '../api/key'
import { copyText } from '../parts/copy'
import { Dialog } from '../parts/Dialog'
import { notify } from '../parts/Toasts'
import { texts } from '../texts'
import { asCurl, asPython } from './code'
import type { Message } from './model'
import type { Body } from './request'
import type { ChatSession } from './session'

const FORMS = ['curl', 'python', 'json'] as const
type Form = (typeof FORMS)[number]

export function RequestDialog({ message, session, onClose }: { message: Message; session: ChatSession; onClose: () => void }) {
  const [form, setForm] = useState<Form>('curl')
  const [body, setBody] = useState<Body | null>(null)
  useEffect(() => {
    session.requestOf(message).then(setBody, (error: unknown) => {
      notify(error instanceof Error ? error.message : String(error), 'error')
      onClose()
    })
  }, [message])
  const text = body ? written(form, body) : ''
  return (
    <Dialog title={texts.request.title} isOpen onClose={onClose} width="wide">
      <div class="row request-row">
        <div class="segments" role="radiogroup" aria-label={texts.request.title}>
          {FORMS.map((one) => (
            <label key={one}>
              <input type="radio" name="form" checked={form === one} onChange={() => setForm(one)} />
              <span>{texts.request[one]}</span>
            </label>
          ))}
        </div>
        <button class="button button-small" onClick={() => void copied(text)}>
          {texts.common.copy}
        </button>
      </div>
      <pre class="request-text mono" tabIndex={0}>
        {text}
      </pre>
      <p class="field-help">{texts.request.help}</p>
    </Dialog>
  )
}

async function copied(text: string): Promise<void> {
  if (await copyText(text)) notify(texts.common.copied)
}

function written(form: Form, body: Body): string {
  const hasKey = apiKey.value !== ''
  if (form === 'curl') return asCurl(urlOf('v1/chat/completions'), body, { hasKey })
  if (form === 'python') return asPython(urlOf('v1'), body, { hasKey })
  return JSON.stringify(body, null, 2)
}
