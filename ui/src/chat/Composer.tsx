// Where the user writes: the message, its attachments, and what is set for the answer.
import { useEffect, useRef, useState } from 'preact/hooks'
import { factsOf, firstModel, modalitiesOf } from '../api/server'
import { chooseFiles } from '../parts/files'
import { Icon } from '../parts/Icon'
import { notify } from '../parts/Toasts'
import { texts } from '../texts'
import { ACCEPT, attachmentOf, refusalOf } from './attaching'
import { bytes } from './format'
import type { AttachmentKind } from './model'
import { toolsOf } from './request'
import type { ChatSession } from './session'

interface Props {
  readonly left: ChatSession
  readonly right: ChatSession | null
}

export function Composer({ left, right }: Props) {
  const area = useRef<HTMLTextAreaElement>(null)
  const [isOver, setOver] = useState(false)
  const sessions = right ? [left, right] : [left]
  const settings = left.conversation.value.settings
  const modalities = modalitiesOf(settings.model)
  const isRunning = sessions.some((session) => session.isRunning.value)
  const text = left.draft.value
  const canSend = !isRunning && (text.trim() !== '' || left.attachments.value.length > 0)

  useEffect(() => {
    if (matchMedia('(pointer: fine)').matches) area.current?.focus()
  }, [])
  useEffect(() => fit(area.current), [text])

  const send = (): void => {
    if (!canSend) return
    const attachments = left.attachments.value
    left.draft.value = ''
    left.attachments.value = []
    for (const session of sessions) void session.send(text.trim(), attachments.map((one) => (session === left ? one : { ...one, id: `${one.id}-2` })))
  }
  const attach = async (files: readonly File[]): Promise<void> => {
    for (const file of files) {
      try {
        const attachment = await attachmentOf(file, modalities, factsOf(settings.model)?.bodyMib)
        left.attachments.value = [...left.attachments.value, attachment]
      } catch (error) {
        notify(error instanceof Error ? error.message : String(error), 'error')
      }
    }
    area.current?.focus()
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      send()
    } else if (event.key === 'ArrowUp' && text === '') {
      const last = left.path.value.findLast((message) => message.role === 'user')
      if (last && !isRunning) {
        event.preventDefault()
        left.editing.value = last.id
      }
    }
  }
  const model = settings.model || firstModel.value
  return (
    <div
      class={`composer ${right ? 'composer-wide' : ''} ${isOver ? 'composer-over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault()
        setOver(true)
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault()
        setOver(false)
        void attach([...(event.dataTransfer?.files ?? [])])
      }}
    >
      <div class="composer-box">
        <Attachments session={left} />
        <textarea
          id="composer"
          ref={area}
          rows={1}
          aria-label={texts.composer.label}
          placeholder={model ? texts.composer.placeholder(model) : texts.composer.placeholderNoModel}
          value={text}
          onInput={(event) => (left.draft.value = event.currentTarget.value)}
          onKeyDown={onKey}
          onPaste={(event) => {
            const files = [...(event.clipboardData?.files ?? [])]
            if (!files.length) return
            event.preventDefault()
            void attach(files)
          }}
        />
        <div class="composer-foot">
          {(['document', 'image', 'audio'] as const).map((kind) => (
            <AttachButton key={kind} kind={kind} refusal={refusalOf(kind, modalities)} onFiles={(files) => void attach(files)} />
          ))}
          <Active sessions={sessions} />
          {isRunning ? (
            <button
              class="send-button send-button-stop"
              type="button"
              aria-label={texts.composer.stop}
              title={texts.composer.stop}
              onClick={() => sessions.forEach((session) => session.stop())}
            >
              <Icon name="stop" size={18} />
            </button>
          ) : (
            <button class="send-button" type="button" aria-label={texts.composer.send} title={texts.composer.send} disabled={!canSend} onClick={send}>
              <Icon name="send" size={18} />
            </button>
          )}
        </div>
      </div>
      <p class="composer-hint">{isOver ? texts.composer.drop : texts.composer.hint}</p>
    </div>
  )
}

/** As high as the text, up to the limit in the style. */
function fit(area: HTMLTextAreaElement | null): void {
  if (!area) return
  area.style.height = 'auto'
  area.style.height = `${area.scrollHeight}px`
}

function Attachments({ session }: { session: ChatSession }) {
  if (!session.attachments.value.length) return null
  return (
    <ul class="chips">
      {session.attachments.value.map((attachment) => (
        <li key={attachment.id} class="chip">
          <Icon name={attachment.kind === 'document' ? 'file' : attachment.kind} size={15} />
          <span class="chip-name">{attachment.name}</span>
          <span class="quiet">{bytes(attachment.size)}</span>
          <button
            class="chip-remove"
            aria-label={texts.composer.remove(attachment.name)}
            onClick={() => (session.attachments.value = session.attachments.value.filter((one) => one !== attachment))}
          >
            <Icon name="close" size={13} />
          </button>
        </li>
      ))}
    </ul>
  )
}

const ATTACH = {
  document: { icon: 'file', label: texts.composer.attach },
  image: { icon: 'image', label: texts.composer.image },
  audio: { icon: 'audio', label: texts.composer.audio },
} as const

interface AttachProps {
  readonly kind: AttachmentKind
  readonly refusal: string
  readonly onFiles: (files: File[]) => void
}

/** A kind that the model can't take stays visible, and says why. */
function AttachButton({ kind, refusal, onFiles }: AttachProps) {
  const { icon, label } = ATTACH[kind]
  const choose = async (): Promise<void> => {
    if (refusal) notify(refusal)
    else onFiles(await chooseFiles(ACCEPT[kind], { isMany: true }))
  }
  return (
    <button
      class="icon-button"
      type="button"
      aria-label={refusal ? `${label}. ${refusal}` : label}
      aria-disabled={refusal ? 'true' : undefined}
      title={refusal || label}
      onClick={() => void choose()}
    >
      <Icon name={icon} />
    </button>
  )
}

/** What is set for the answer, so that nobody wonders about its form. */
function Active({ sessions }: { sessions: readonly ChatSession[] }) {
  const names = new Set<string>()
  for (const session of sessions) {
    const settings = session.conversation.value.settings
    if (settings.format !== 'text') names.add(texts.composer.formatOn[settings.format])
    const tools = numberOfTools(settings.tools)
    if (tools && settings.toolChoice !== 'none') names.add(texts.composer.toolsOn(tools))
  }
  return (
    <span class="composer-active">
      {[...names].map((name) => (
        <span key={name} class="tag">
          {name}
        </span>
      ))}
    </span>
  )
}

function numberOfTools(text: string): number {
  try {
    return toolsOf(text).length
  } catch {
    return 0
  }
}
