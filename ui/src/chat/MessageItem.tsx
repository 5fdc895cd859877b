// One message of the branch: its text, what belongs to it, and what can be done with it.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { entryOf, isReachable, untilBack } from '../api/server'
import { Markdown } from '../markdown/Markdown'
import { copyText } from '../parts/copy'
import { Icon, type IconName } from '../parts/Icon'
import { texts } from '../texts'
import { bytes, seconds } from './format'
import type { Message, ToolCall } from './model'
import { RequestDialog } from './RequestDialog'
import type { ChatSession, Live } from './session'
import { StatsLine } from './StatsLine'

interface Props {
  readonly message: Message
  readonly session: ChatSession
}

export function MessageItem({ message, session }: Props) {
  const isEdited = session.editing.value === message.id
  if (message.role === 'tool') return <ToolResult message={message} session={session} />
  return (
    <article class={`message message-${message.role}`} data-id={message.id}>
      <h3 class="visually-hidden">{message.role === 'user' ? texts.message.you : message.model || texts.message.model}</h3>
      {isEdited ? (
        <Editor message={message} session={session} />
      ) : message.role === 'user' ? (
        <Question message={message} session={session} />
      ) : (
        <Answer message={message} session={session} />
      )}
    </article>
  )
}

function Question({ message, session }: Props) {
  return (
    <>
      {message.attachments.length > 0 && (
        <ul class="chips">
          {message.attachments.map((attachment) => (
            <li key={attachment.id} class="chip">
              <Icon name={attachment.kind === 'document' ? 'file' : attachment.kind} size={15} />
              <span class="chip-name">{attachment.name}</span>
              <span class="quiet">{bytes(attachment.size)}</span>
            </li>
          ))}
        </ul>
      )}
      {message.content && (
        <div class="bubble" dir="auto">
          {message.content}
        </div>
      )}
      <footer class="message-foot">
        <Branches message={message} session={session} />
        <CopyButton text={message.content} />
        <Action icon="edit" label={texts.message.edit} run={() => (session.editing.value = message.id)} />
      </footer>
    </>
  )
}

function Answer({ message, session }: Props) {
  const live = session.liveId.value === message.id ? session.live.value : null
  const shown = live ?? message
  return (
    <>
      {shown.thinking && <Thinking text={shown.thinking} milliseconds={message.thinkingMs} isLive={live?.isThinking ?? false} />}
      {shown.content && <Markdown text={shown.content} isLive={live !== null} />}
      {shown.calls.map((call, index) => (
        <Call key={index} call={call} />
      ))}
      {live && !live.hasBegun && <Waiting live={live} model={message.model} />}
      {!live && <EndNotice message={message} session={session} />}
      <footer class={`message-foot ${live ? 'message-foot-live' : ''}`}>
        <Branches message={message} session={session} />
        {!live && <AnswerActions message={message} session={session} />}
        <StatsLine stats={shown.stats} />
      </footer>
    </>
  )
}

function AnswerActions({ message, session }: Props) {
  const [isShown, setShown] = useState(false)
  const isLast = session.path.value.at(-1)?.id === message.id
  return (
    <>
      {message.content && <CopyButton text={message.content} />}
      {!message.calls.length && (
        <Action icon="edit" label={texts.message.edit} run={() => (session.editing.value = message.id)} />
      )}
      <Action icon="retry" label={texts.message.retry} run={() => void session.retry(message)} />
      {isLast && !message.calls.length && (
        <Action icon="forward" label={texts.message.continue} run={() => void session.continue(message)} />
      )}
      <Action icon="code" label={texts.message.request} run={() => setShown(true)} />
      {isShown && <RequestDialog message={message} session={session} onClose={() => setShown(false)} />}
    </>
  )
}

export function Action({ icon, label, run }: { icon: IconName; label: string; run: () => void }) {
  return (
    <button class="icon-button action" type="button" aria-label={label} title={label} onClick={run}>
      <Icon name={icon} size={16} />
    </button>
  )
}

function CopyButton({ text }: { text: string }) {
  const [isDone, setDone] = useState(false)
  const copy = async (): Promise<void> => {
    if (!(await copyText(text))) return
    setDone(true)
    setTimeout(() => setDone(false), 1600)
  }
  return <Action icon={isDone ? 'check' : 'copy'} label={isDone ? texts.common.copied : texts.message.copy} run={() => void copy()} />
}

/** The way between the versions of a message. */
function Branches({ message, session }: Props) {
  const versions = session.tree.value.siblings(message)
  if (versions.length < 2) return null
  const at = versions.findIndex((one) => one.id === message.id)
  const step = (to: number, icon: IconName, label: string) => (
    <button
      class="icon-button action"
      type="button"
      aria-label={label}
      title={label}
      disabled={!versions[to] || session.isRunning.value}
      onClick={() => versions[to] && void session.choose(versions[to])}
    >
      <Icon name={icon} size={15} />
    </button>
  )
  return (
    <span class="branches">
      {step(at - 1, 'left', texts.message.previous)}
      <span class="numbers" aria-label={texts.message.branch(at + 1, versions.length)}>
        {at + 1}/{versions.length}
      </span>
      {step(at + 1, 'right', texts.message.next)}
    </span>
  )
}

function Thinking({ text, milliseconds, isLive }: { text: string; milliseconds: number; isLive: boolean }) {
  const label = isLive
    ? texts.message.thinking
    : milliseconds
      ? texts.message.thought(seconds(milliseconds))
      : texts.message.thoughtPlain
  return (
    <details class={`thinking ${isLive ? 'thinking-live' : ''}`}>
      <summary>
        <Icon name="thought" size={16} />
        <span>{label}</span>
        <Icon name="down" size={14} />
      </summary>
      <Markdown text={text} isLive={isLive} />
    </details>
  )
}

function Waiting({ live, model }: { live: Live; model: string }) {
  const percent = Math.floor(live.progress * 100)
  const isReading = percent > 0 && percent < 100
  const isLoading = !isReading && (entryOf(model)?.state ?? 'loaded') !== 'loaded'
  const words = isReading ? texts.message.reading(percent) : isLoading ? texts.message.loading : texts.message.waiting
  return (
    <p class="waiting">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span class={isReading || isLoading ? '' : 'visually-hidden'}>{words}</span>
    </p>
  )
}

function Call({ call }: { call: ToolCall }) {
  return (
    <div class="call">
      <div class="call-head">
        <Icon name="tool" size={16} />
        <span class="mono">{call.name}</span>
      </div>
      <pre class="call-body mono" tabIndex={0} aria-label={texts.calls.arguments}>
        {pretty(call.arguments)}
      </pre>
    </div>
  )
}

function ToolResult({ message, session }: Props) {
  const calls = session.tree.value.path(message.id).flatMap((one) => one.calls)
  const call = calls.find((one) => one.id === message.callId)
  return (
    <article class="message message-tool" data-id={message.id}>
      <div class="call call-result">
        <div class="call-head">
          <Icon name="check" size={16} />
          <h3>{call ? texts.calls.resultLabel(call.name) : texts.message.tool}</h3>
        </div>
        <pre class="call-body mono" tabIndex={0} aria-label={texts.calls.result}>
          {pretty(message.content)}
        </pre>
      </div>
    </article>
  )
}

/** JSON on several lines; other text as it is. */
function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

/** Why an answer is not complete, and the ways on. */
function EndNotice({ message, session }: Props) {
  const ending = message.ending
  const isLast = session.path.value.at(-1)?.id === message.id
  const isBroken = ending === 'failed' || ending === 'interrupted'
  useEffect(() => {
    if (ending !== 'failed' || !isLast) return
    const controller = new AbortController()
    if (message.error === texts.errors.broken || message.error === texts.errors.unreachable) void untilBack(controller.signal)
    return () => controller.abort()
  }, [ending, isLast])
  if (ending === 'stopped') return <p class="end-note">{texts.endings.stopped}</p>
  if (ending === 'length') return <p class="end-note">{texts.endings.length}</p>
  const isEmpty = !message.content && !message.calls.length
  if (!isBroken) return isEmpty ? <p class="end-note">{texts.endings.empty}</p> : null
  return (
    <div class={`notice ${ending === 'failed' ? 'notice-error' : 'notice-warn'} broken`} role="alert">
      <div>
        <strong>{ending === 'failed' ? message.error || texts.endings.failed : texts.endings.interrupted}</strong>
        {isLast && <p>{isReachable.value ? texts.endings.continueHelp : texts.endings.serverAway}</p>}
      </div>
      {isLast && (
        <div class="row">
          {(message.content || message.thinking) && !message.calls.length && (
            <button class="button button-small" disabled={!isReachable.value} onClick={() => void session.continue(message)}>
              {texts.message.continue}
            </button>
          )}
          <button class="button button-small" disabled={!isReachable.value} onClick={() => void session.retry(message)}>
            {texts.message.retry}
          </button>
        </div>
      )}
    </div>
  )
}

function Editor({ message, session }: Props) {
  const [text, setText] = useState(message.content)
  const area = useRef<HTMLTextAreaElement>(null)
  const isQuestion = message.role === 'user'
  useLayoutEffect(() => {
    area.current?.focus()
    area.current?.setSelectionRange(message.content.length, message.content.length)
  }, [])
  const close = (): void => {
    session.editing.value = null
  }
  const save = (): void => {
    if (!text.trim() && !message.attachments.length) return
    close()
    if (isQuestion) void session.edit(message, text)
    else session.editAnswer(message, text)
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.preventDefault()
      close()
    } else if (event.key === 'Enter' && (isQuestion ? !event.shiftKey : event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault()
      save()
    }
  }
  return (
    <div class="editor">
      <textarea
        ref={area}
        class="textarea"
        rows={Math.min(16, Math.max(2, text.split('\n').length))}
        aria-label={texts.message.editLabel}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKey}
      />
      <div class="editor-foot">
        <p class="field-help">{isQuestion ? texts.message.editHelp : texts.message.editAnswerHelp}</p>
        <button class="button button-small" onClick={close}>
          {texts.common.cancel}
        </button>
        <button class="button button-small button-main" onClick={save}>
          {isQuestion ? texts.message.send : texts.message.saveAnswer}
        </button>
      </div>
    </div>
  )
}
