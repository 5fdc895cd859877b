// The downloads that the server tells of, whoever began them.
import { useState } from 'preact/hooks'
import { postJson } from '../api/client'
import { notify } from '../parts/Toasts'
import { bytes } from '../room/format'
import { Section } from '../room/Section'
import type { DownloadView } from '../room/types'
import { texts } from '../texts'

const words = texts.models

export function Downloads({ downloads }: { downloads: readonly DownloadView[] }) {
  if (!downloads.length) return null
  return (
    <Section title={words.downloads}>
      <ul class="downloads">
        {downloads.map((download) => (
          <Download key={download.model} download={download} />
        ))}
      </ul>
    </Section>
  )
}

function Download({ download }: { download: DownloadView }) {
  const { model, state, completed, total, message } = download
  return (
    <li class="download">
      <strong class="room-message">{model}</strong>
      <div class="row">
        <span class="numbers quiet">
          {state === 'running' && total > 0 ? words.of(bytes(completed), bytes(total)) : words.downloadStates[state]}
        </span>
        {state === 'running' && <Cancel model={model} />}
      </div>
      {state === 'running' && (
        <progress
          class="progress"
          aria-label={words.progressOf(model, total ? Math.round((100 * completed) / total) : 0)}
          {...(total ? { max: total, value: completed } : {})}
        />
      )}
      {state === 'cancelled' && completed > 0 && <p class="quiet">{words.cancelHelp}</p>}
      {state === 'failed' && <p class="notice notice-error">{message}</p>}
    </li>
  )
}

function Cancel({ model }: { model: string }) {
  const [isAsking, setIsAsking] = useState(false)
  const cancel = async (): Promise<void> => {
    setIsAsking(true)
    try {
      await postJson('models/unload', { model })
    } catch (error) {
      notify(error instanceof Error ? error.message : String(error), 'error')
      setIsAsking(false)
    }
  }
  return (
    <button class="button button-small" disabled={isAsking} aria-label={words.cancelOf(model)} onClick={() => void cancel()}>
      {texts.common.cancel}
    </button>
  )
}
