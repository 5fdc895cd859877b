// All conversations of this browser: the list, the store, and the sessions of those that were opened.
import { computed, signal } from '@preact/signals'
import { openStore, type Store } from '../store/database'
import { read, write } from '../store/local'
import { NotImported, archiveOf, readArchive, settings as readSettings, type Archive } from '../store/transfer'
import { notify } from '../parts/Toasts'
import { texts } from '../texts'
import { DEFAULT_SETTINGS, newConversation, type ChatSettings, type Conversation } from './model'
import { ChatSession } from './session'

const all = signal<readonly Conversation[]>([])

/** Whether the conversations of earlier visits have been read. */
export const isLoaded = signal(false)

/** Whether the browser keeps conversations over visits. */
export const isKept = signal(true)

/** What the list shows: the newest first. The right side of a comparison belongs to its left. */
export const listed = computed(() =>
  all.value.filter((one) => !one.isSecond).sort((a, b) => b.updated - a.updated || (a.id < b.id ? -1 : 1)),
)

/** All conversations, both sides of comparisons. */
export const conversations = computed(() => all.value)

const opened: Promise<Store> = openStore().then(({ store, isKept: kept }) => {
  isKept.value = kept
  if (!kept) notify(texts.errors.storage, 'error')
  return store
})

const sessions = new Map<string, ChatSession>()

export async function load(): Promise<void> {
  const store = await opened
  const kept = await store.conversations()
  const known = new Set(all.value.map((one) => one.id))
  all.value = [...all.value, ...kept.filter((one) => !known.has(one.id))]
  isLoaded.value = true
}

/** The session of a conversation; undefined if there is no such conversation. */
export async function sessionOf(id: string): Promise<ChatSession | undefined> {
  const known = sessions.get(id)
  if (known) return known
  const store = await opened
  const conversation = all.value.find((one) => one.id === id) ?? (await store.conversation(id))
  if (!conversation) return undefined
  const messages = await store.messages(id)
  return sessions.get(id) ?? adopt(conversation, messages)
}

/** A new conversation. It is kept once it has a message. */
export function begin(settings: ChatSettings = defaultSettings()): ChatSession {
  return adopt(newConversation(settings), [])
}

function adopt(conversation: Conversation, messages: ConstructorParameters<typeof ChatSession>[1]): ChatSession {
  const session = new ChatSession(conversation, messages, {
    keep: (changed) => keep(changed),
    keepMessages: async (...changed) => guarded((await opened).putMessages(...changed)),
    file: async (id) => (await opened).file(id),
    putFile: async (id, url) => guarded((await opened).putFile(id, url)),
  })
  sessions.set(conversation.id, session)
  return session
}

async function keep(conversation: Conversation): Promise<void> {
  const others = all.value.filter((one) => one.id !== conversation.id)
  all.value = [...others, conversation]
  await guarded((await opened).putConversation(conversation))
}

/** A write that the browser refuses must not end an answer: say so, and go on. */
async function guarded(writing: Promise<void>): Promise<void> {
  try {
    await writing
  } catch {
    notify(texts.errors.storageFull, 'error')
  }
}

export async function rename(conversation: Conversation, title: string): Promise<void> {
  const session = await sessionOf(conversation.id)
  await session?.change({ title: title.trim() || conversation.title, isNamed: true })
}

/** Remove conversations, and the other sides of those that are comparisons. */
export async function remove(...removed: Conversation[]): Promise<void> {
  const ids = new Set(removed.flatMap((one) => (one.pair ? [one.id, one.pair] : [one.id])))
  for (const id of ids) {
    sessions.get(id)?.stop()
    sessions.get(id)?.forget()
    sessions.delete(id)
  }
  all.value = all.value.filter((one) => !ids.has(one.id))
  await (await opened).remove(...ids)
}

/** The right side of a comparison. It begins with what the left side has. */
export async function beginComparison(left: ChatSession): Promise<ChatSession> {
  const conversation = left.conversation.value
  if (conversation.pair) {
    const known = await sessionOf(conversation.pair)
    if (known) return known
  }
  const right = adopt({ ...newConversation(conversation.settings), pair: conversation.id, isSecond: true }, [])
  await right.copyBranch(left)
  await left.change({ pair: right.conversation.value.id })
  return right
}

/** End a comparison: the right side becomes a conversation of its own. */
export async function endComparison(left: ChatSession): Promise<void> {
  const right = left.conversation.value.pair ? await sessionOf(left.conversation.value.pair) : undefined
  await left.change({ pair: null })
  if (!right) return
  if (right.path.value.length) await right.change({ pair: null, isSecond: false })
  else await remove(right.conversation.value)
}

/** The conversations whose title or messages contain all words. */
export async function search(words: string): Promise<ReadonlySet<string>> {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const matches = (text: string): boolean => {
    const lower = text.toLowerCase()
    return wanted.every((word) => lower.includes(word))
  }
  const found = new Set(all.value.filter((one) => matches(one.title)).map((one) => one.id))
  for (const message of await (await opened).allMessages()) {
    if (!found.has(message.conversation) && matches(message.content)) found.add(message.conversation)
  }
  for (const one of all.value) if (one.pair && one.isSecond && found.has(one.id)) found.add(one.pair)
  return found
}

/** An export of some conversations, or of all. */
export async function exported(some: readonly Conversation[] = all.value): Promise<Archive> {
  const store = await opened
  const ids = new Set(some.flatMap((one) => (one.pair ? [one.id, one.pair] : [one.id])))
  const chosen = all.value.filter((one) => ids.has(one.id))
  const messages = (await store.allMessages()).filter((message) => ids.has(message.conversation))
  const files: Record<string, string> = {}
  for (const attachment of messages.flatMap((message) => message.attachments)) {
    const url = await store.file(attachment.id)
    if (url !== undefined) files[attachment.id] = url
  }
  return archiveOf(chosen, messages, files)
}

/** Take in an export. Returns the number of conversations. Raises `NotImported`. */
export async function importArchive(text: string): Promise<number> {
  const archive = readArchive(text)
  const store = await opened
  for (const [id, url] of Object.entries(archive.files)) await store.putFile(id, url)
  await store.putMessages(...archive.messages)
  for (const conversation of archive.conversations) await store.putConversation(conversation)
  all.value = [...all.value, ...archive.conversations]
  return archive.conversations.filter((one) => !one.isSecond).length
}

/** What new conversations begin with. */
export function defaultSettings(): ChatSettings {
  const kept = read('chatSettings')
  if (!kept) return DEFAULT_SETTINGS
  try {
    return readSettings(JSON.parse(kept))
  } catch {
    return DEFAULT_SETTINGS
  }
}

export function keepDefaultSettings(settings: ChatSettings): void {
  write('chatSettings', JSON.stringify(settings))
}

export { NotImported }
