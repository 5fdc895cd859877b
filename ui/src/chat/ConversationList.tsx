// The list of conversations: search, groups by age, and what can be done with one.
import { useEffect, useState } from 'preact/hooks'
import { go, hashOf } from '../app/router'
import { Dialog } from '../parts/Dialog'
import { Icon } from '../parts/Icon'
import { Menu } from '../parts/Menu'
import { texts } from '../texts'
import { ageOf, type Age } from './format'
import { isLoaded, listed, remove, rename, search } from './library'
import { runningIds } from './running'
import type { Conversation } from './model'
import { exportToFile, importFromFile } from './transferring'

const AGES: readonly Age[] = ['today', 'yesterday', 'week', 'month', 'older']
const SEARCH_DELAY_MS = 120

interface Props {
  readonly current: string
  readonly onNew: () => void
  readonly onHide: () => void
}

export function ConversationList({ current, onNew, onHide }: Props) {
  const [words, setWords] = useState('')
  const found = useSearch(words)
  const [renamed, setRenamed] = useState<Conversation | null>(null)
  const [removed, setRemoved] = useState<Conversation | null>(null)
  const shown = found ? listed.value.filter((one) => found.has(one.id)) : listed.value
  return (
    <aside class="list" aria-label={texts.list.label}>
      <div class="list-head">
        <button class="button list-new" onClick={onNew}>
          <Icon name="plus" size={17} />
          {texts.list.new}
        </button>
        <button class="icon-button" aria-label={texts.list.hide} title={texts.list.hide} onClick={onHide}>
          <Icon name="panel" />
        </button>
      </div>
      <label class="list-search">
        <Icon name="search" size={16} />
        <input
          id="list-search"
          type="search"
          placeholder={texts.list.search}
          aria-label={texts.keys.search}
          value={words}
          onInput={(event) => setWords(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && shown[0]) go('chat', shown[0].id)
          }}
        />
      </label>
      <nav class="list-scroll" aria-label={texts.list.label}>
        <Groups shown={shown} current={current} onRename={setRenamed} onRemove={setRemoved} />
        {isLoaded.value && !shown.length && (
          <p class="list-empty">{words.trim() ? texts.list.nothingFound(words.trim()) : texts.list.empty}</p>
        )}
      </nav>
      <div class="list-foot">
        <button class="button button-small" onClick={() => void importFromFile()}>
          <Icon name="upload" size={15} />
          {texts.list.import}
        </button>
        <button class="button button-small" disabled={!listed.value.length} onClick={() => void exportToFile()}>
          <Icon name="download" size={15} />
          {texts.list.exportAll}
        </button>
      </div>
      <RenameDialog conversation={renamed} onClose={() => setRenamed(null)} />
      <RemoveDialog conversation={removed} current={current} onClose={() => setRemoved(null)} />
    </aside>
  )
}

/** The ids that match; null while there are no words. */
function useSearch(words: string): ReadonlySet<string> | null {
  const [found, setFound] = useState<ReadonlySet<string> | null>(null)
  useEffect(() => {
    if (!words.trim()) {
      setFound(null)
      return
    }
    let isOld = false
    const timer = setTimeout(() => {
      void search(words).then((ids) => {
        if (!isOld) setFound(ids)
      })
    }, SEARCH_DELAY_MS)
    return () => {
      isOld = true
      clearTimeout(timer)
    }
  }, [words])
  return found
}

interface GroupsProps {
  readonly shown: readonly Conversation[]
  readonly current: string
  readonly onRename: (conversation: Conversation) => void
  readonly onRemove: (conversation: Conversation) => void
}

function Groups({ shown, ...rest }: GroupsProps) {
  const now = Date.now()
  const groups = AGES.map((age) => [age, shown.filter((one) => ageOf(one.updated, now) === age)] as const)
  return (
    <>
      {groups
        .filter(([, members]) => members.length)
        .map(([age, members]) => (
          <section key={age} class="list-group">
            <h2>{texts.list[age]}</h2>
            <ul>
              {members.map((one) => (
                <Entry key={one.id} conversation={one} {...rest} />
              ))}
            </ul>
          </section>
        ))}
    </>
  )
}

interface EntryProps extends Omit<GroupsProps, 'shown'> {
  readonly conversation: Conversation
}

function Entry({ conversation, current, onRename, onRemove }: EntryProps) {
  const title = conversation.title || texts.list.untitled
  const isRunning = runningIds.value.has(conversation.id)
  return (
    <li class="list-entry">
      <a href={hashOf('chat', conversation.id)} aria-current={conversation.id === current ? 'true' : undefined} title={title}>
        {isRunning && <span class="dot" role="img" aria-label={texts.list.answering} />}
        <span class="list-title">{title}</span>
        {conversation.pair && (
          <span class="list-mark" title={texts.list.compared}>
            <Icon name="columns" size={14} />
          </span>
        )}
      </a>
      <Menu
        label={texts.list.actions(title)}
        actions={[
          { label: texts.list.rename, icon: 'edit', run: () => onRename(conversation) },
          { label: texts.list.export, icon: 'download', run: () => void exportToFile([conversation]) },
          { label: texts.list.delete, icon: 'trash', isDanger: true, run: () => onRemove(conversation) },
        ]}
      >
        <Icon name="more" size={16} />
      </Menu>
    </li>
  )
}

export function RenameDialog({ conversation, onClose }: { conversation: Conversation | null; onClose: () => void }) {
  const submit = (event: SubmitEvent): void => {
    event.preventDefault()
    const title = new FormData(event.currentTarget as HTMLFormElement).get('title')
    if (conversation) void rename(conversation, String(title))
    onClose()
  }
  return (
    <Dialog title={texts.list.rename} isOpen={conversation !== null} onClose={onClose}>
      <form class="stack" onSubmit={submit}>
        <label class="field">
          <span>{texts.list.renameLabel}</span>
          <input class="input" name="title" maxLength={200} autofocus defaultValue={conversation?.title ?? ''} />
        </label>
        <div class="row-end">
          <button class="button" type="button" onClick={onClose}>
            {texts.common.cancel}
          </button>
          <button class="button button-main" type="submit">
            {texts.common.save}
          </button>
        </div>
      </form>
    </Dialog>
  )
}

interface RemoveProps {
  readonly conversation: Conversation | null
  readonly current: string
  readonly onClose: () => void
}

function RemoveDialog({ conversation, current, onClose }: RemoveProps) {
  const confirm = (): void => {
    if (conversation) {
      if (conversation.id === current) go('chat', '', { replace: true })
      void remove(conversation)
    }
    onClose()
  }
  return (
    <Dialog title={texts.list.deleteTitle} isOpen={conversation !== null} onClose={onClose}>
      <p class="quiet">{texts.list.deleteHelp(conversation?.title || texts.list.untitled)}</p>
      <div class="row-end">
        <button class="button" onClick={onClose}>
          {texts.common.cancel}
        </button>
        <button class="button button-danger" onClick={confirm}>
          {texts.common.delete}
        </button>
      </div>
    </Dialog>
  )
}
