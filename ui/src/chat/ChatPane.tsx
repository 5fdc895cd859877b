// One conversation: who answers, the messages of the branch, and the way back to the newest one.
import { useEffect, useRef, useState } from 'preact/hooks'
import { entryOf, factsOf, firstModel, learn, models, refreshServer, requestedModel } from '../api/server'
import { Icon } from '../parts/Icon'
import { texts } from '../texts'
import { CallAnswers } from './CallAnswers'
import { MessageItem } from './MessageItem'
import { ModelPicker } from './ModelPicker'
import type { ChatSession } from './session'
import { Welcome } from './Welcome'

export type Side = 'only' | 'first' | 'second'

const NEAR_PX = 80

interface Props {
  readonly session: ChatSession
  readonly side: Side
  readonly onConfigure: () => void
}

export function ChatPane({ session, side, onConfigure }: Props) {
  const path = session.path.value
  const { scroller, content, isAway, toEnd } = useStickyEnd(session)
  const model = session.conversation.value.settings.model
  useEffect(() => void learn(model), [model, models.value])
  // The first answer of a model loads it.
  const isRunning = session.isRunning.value
  useEffect(() => {
    const entry = entryOf(requestedModel(model))
    if (!isRunning && entry && entry.state !== 'loaded') void refreshServer()
  }, [isRunning])
  return (
    <section class="pane" aria-label={side === 'only' ? texts.chat.log : texts.compare.pane(texts.compare[side])}>
      <div class="pane-head">
        <ModelPicker session={session} />
        <button
          class="icon-button"
          aria-label={texts.chat.settings}
          title={texts.chat.settings}
          aria-haspopup="dialog"
          onClick={onConfigure}
        >
          <Icon name="sliders" />
        </button>
      </div>
      <div class="messages" ref={scroller} tabIndex={0} role="log" aria-live="off" aria-label={texts.chat.log}>
        <div class="messages-column" ref={content}>
          {path.length ? (
            path.map((message) => <MessageItem key={message.id} message={message} session={session} />)
          ) : (
            <Welcome session={session} isCompared={side !== 'only'} model={factsOf(model)?.name || model || firstModel.value} />
          )}
          {session.openCalls.value.length > 0 && <CallAnswers key={path.at(-1)?.id} session={session} calls={session.openCalls.value} />}
          {session.problem.value && (
            <p class="notice notice-error" role="alert">
              {session.problem.value.message}
            </p>
          )}
        </div>
      </div>
      {isAway && (
        <button class="to-end" aria-label={texts.chat.toEnd} title={texts.chat.toEnd} onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
      <Announcer session={session} />
    </section>
  )
}

/** Keeps the newest text in sight, unless the user scrolled away from it. */
function useStickyEnd(session: ChatSession) {
  const scroller = useRef<HTMLDivElement>(null)
  const content = useRef<HTMLDivElement>(null)
  const isStuck = useRef(true)
  const [isAway, setAway] = useState(false)
  const toEnd = (): void => {
    const box = scroller.current
    isStuck.current = true
    setAway(false)
    if (box) box.scrollTop = box.scrollHeight
  }
  useEffect(() => {
    const box = scroller.current
    if (!box || !content.current) return
    const follow = (): void => {
      if (isStuck.current) box.scrollTop = box.scrollHeight
    }
    const observer = new ResizeObserver(follow)
    observer.observe(content.current)
    observer.observe(box)
    let last = box.scrollTop
    const onScroll = (): void => {
      const distance = box.scrollHeight - box.scrollTop - box.clientHeight
      // Only a scroll up lets go: growth moves the end away too.
      if (box.scrollTop < last - 1) isStuck.current = distance < NEAR_PX / 4
      else if (distance < NEAR_PX / 4) isStuck.current = true
      last = box.scrollTop
      setAway(!isStuck.current && distance > NEAR_PX)
    }
    box.addEventListener('scroll', onScroll, { passive: true })
    return () => {
      observer.disconnect()
      box.removeEventListener('scroll', onScroll)
    }
  }, [])
  // A new message of the user brings its answer into sight.
  const last = session.path.value.at(-1)?.id
  useEffect(toEnd, [last])
  return { scroller, content, isAway, toEnd }
}

/** Tells screen readers that an answer begins and ends, and not every word of it. */
function Announcer({ session }: { session: ChatSession }) {
  const [said, setSaid] = useState('')
  const isRunning = session.isRunning.value
  const wasRunning = useRef(isRunning)
  useEffect(() => {
    if (wasRunning.current !== isRunning) setSaid(isRunning ? texts.message.started : texts.message.ended)
    wasRunning.current = isRunning
  }, [isRunning])
  return (
    <div class="visually-hidden" role="status">
      {said}
    </div>
  )
}
