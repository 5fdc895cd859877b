// The chat: the list of conversations, and one conversation or two side by side.
import { signal } from '@preact/signals'
import { useEffect, useRef, useState } from 'preact/hooks'
import { go, route } from '../app/router'
import { refreshServer } from '../api/server'
import { Icon } from '../parts/Icon'
import { read, write } from '../store/local'
import { texts } from '../texts'
import { ChatPane } from './ChatPane'
import { Composer } from './Composer'
import { ConversationList, RenameDialog } from './ConversationList'
import { begin, beginComparison, endComparison, load, sessionOf } from './library'
import type { ChatSession } from './session'
import { SettingsPanel } from './SettingsPanel'

const NARROW = 900
const isListShown = signal(read('list') !== 'hidden' && innerWidth >= NARROW)

function showList(isShown: boolean): void {
  isListShown.value = isShown
  if (innerWidth >= NARROW) write('list', isShown ? '' : 'hidden')
}

void load()
void refreshServer()

export function ChatView() {
  const id = route.value.item
  const { left, right, isMissing, startNew } = useSessions(id)
  const [configured, setConfigured] = useState<ChatSession | null>(null)
  const [isRenaming, setRenaming] = useState(false)
  useKeys({
    startNew,
    openSettings: () => setConfigured((open) => (open ? null : left)),
    stop: () => {
      left?.stop()
      right?.stop()
    },
  })
  useEffect(() => {
    setConfigured(null)
    if (innerWidth < NARROW) isListShown.value = false
  }, [id])

  const shownConfigured = configured && (configured === left || configured === right) ? configured : null
  const conversation = left?.conversation.value
  return (
    <div class={`chat ${isListShown.value ? 'chat-with-list' : ''} ${shownConfigured ? 'chat-with-panel' : ''}`}>
      {isListShown.value && (
        <>
          <button class="chat-shade" aria-label={texts.list.hide} onClick={() => showList(false)} />
          <ConversationList current={id} onNew={startNew} onHide={() => showList(false)} />
        </>
      )}
      <main class="chat-main">
        <header class="chat-head">
          {!isListShown.value && (
            <button class="icon-button" aria-label={texts.list.show} title={texts.list.show} onClick={() => showList(true)}>
              <Icon name="panel" />
            </button>
          )}
          <h1 class="chat-title">
            {conversation?.title ? (
              <button title={texts.chat.rename} onClick={() => setRenaming(true)}>
                {conversation.title}
              </button>
            ) : (
              <span>{texts.list.untitled}</span>
            )}
          </h1>
          {left && <CompareButton left={left} right={right} />}
        </header>
        {isMissing && (
          <div class="empty">
            <h2>{texts.chat.missing}</h2>
            <button class="button" onClick={startNew}>
              {texts.list.new}
            </button>
          </div>
        )}
        {left && (
          <div class={`panes ${right ? 'panes-two' : ''}`}>
            <ChatPane key={left.conversation.value.id} session={left} side={right ? 'first' : 'only'} onConfigure={toggle(setConfigured, left)} />
            {right && <ChatPane key={right.conversation.value.id} session={right} side="second" onConfigure={toggle(setConfigured, right)} />}
          </div>
        )}
        {left && <Composer key={`composer-${left.conversation.value.id}`} left={left} right={right} />}
      </main>
      {shownConfigured && (
        <SettingsPanel
          key={shownConfigured.conversation.value.id}
          session={shownConfigured}
          side={right ? (shownConfigured === left ? 'first' : 'second') : 'only'}
          onClose={() => setConfigured(null)}
        />
      )}
      <RenameDialog conversation={isRenaming && conversation ? conversation : null} onClose={() => setRenaming(false)} />
    </div>
  )
}

function toggle(set: (change: (open: ChatSession | null) => ChatSession | null) => void, session: ChatSession) {
  return () => set((open) => (open === session ? null : session))
}

function CompareButton({ left, right }: { left: ChatSession; right: ChatSession | null }) {
  const label = right ? texts.compare.end : texts.compare.start
  return (
    <button
      class="icon-button compare-button"
      aria-label={label}
      title={label}
      aria-pressed={right !== null}
      onClick={() => void (right ? endComparison(left) : beginComparison(left))}
    >
      <Icon name="columns" />
    </button>
  )
}

/** The sessions of the address: one, or two that are compared. Without an id a new one begins. */
function useSessions(id: string) {
  const [left, setLeft] = useState<ChatSession | null>(() => (id ? null : begin()))
  const [right, setRight] = useState<ChatSession | null>(null)
  const [isMissing, setMissing] = useState(false)
  const fresh = useRef(left)
  useEffect(() => {
    let isOld = false
    void (async () => {
      if (!id) {
        fresh.current ??= begin()
        setLeft(fresh.current)
        setMissing(false)
        return
      }
      const found = (await sessionOf(id)) ?? null
      if (isOld) return
      if (fresh.current === found) fresh.current = null
      setLeft(found)
      setMissing(!found)
    })()
    return () => {
      isOld = true
    }
  }, [id])

  const pair = left?.conversation.value.pair ?? null
  useEffect(() => {
    let isOld = false
    void (async () => {
      const found = pair ? ((await sessionOf(pair)) ?? null) : null
      if (!isOld) setRight(found)
    })()
    return () => {
      isOld = true
    }
  }, [pair])

  // A new conversation gets its address with its first message.
  const isBegun = left !== null && left.messages.value.length > 0
  useEffect(() => {
    if (left && isBegun && route.value.view === 'chat' && route.value.item === '') {
      go('chat', left.conversation.value.id, { replace: true })
    }
  }, [left, isBegun])

  const startNew = (): void => {
    fresh.current = begin()
    if (id) go('chat')
    else setLeft(fresh.current)
    setMissing(false)
    if (innerWidth < NARROW) showList(false)
    setTimeout(() => document.getElementById('composer')?.focus())
  }
  return { left, right: pair ? right : null, isMissing, startNew }
}

function useKeys({ startNew, openSettings, stop }: { startNew: () => void; openSettings: () => void; stop: () => void }): void {
  const actions = useRef({ startNew, openSettings, stop })
  actions.current = { startNew, openSettings, stop }
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (document.querySelector('dialog[open]')) return
      const isMain = event.ctrlKey || event.metaKey
      const isWriting = event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)
      const key = event.key.toLowerCase()
      const run = actionOf(key, event, isMain, isWriting, actions.current)
      if (!run) return
      event.preventDefault()
      run()
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
}

function actionOf(
  key: string,
  event: KeyboardEvent,
  isMain: boolean,
  isWriting: boolean,
  actions: { startNew: () => void; openSettings: () => void; stop: () => void },
): (() => void) | null {
  if (isMain && key === 'k') return focusSearch
  if (isMain && event.shiftKey && key === 'o') return actions.startNew
  if (isMain && key === 'b') return () => showList(!isListShown.value)
  if (isMain && key === ',') return actions.openSettings
  if (key === 'escape' && !event.defaultPrevented) return actions.stop
  if (isWriting || isMain || event.altKey) return null
  if (key === '/') return () => document.getElementById('composer')?.focus()
  return null
}

function focusSearch(): void {
  showList(true)
  setTimeout(() => document.getElementById('list-search')?.focus())
}
