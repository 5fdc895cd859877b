// What the browser keeps: conversations, their messages, and the content of attached files.
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import type { Conversation, Message } from '../chat/model'

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation }
  messages: { key: string; value: Message; indexes: { conversation: string } }
  /** Data URLs, by the id of the attachment. */
  files: { key: string; value: string }
}

const VERSION = 1

/** All conversations of this browser for this server's origin. */
export interface Store {
  conversations(): Promise<Conversation[]>
  conversation(id: string): Promise<Conversation | undefined>
  messages(conversation: string): Promise<Message[]>
  allMessages(): Promise<Message[]>
  file(id: string): Promise<string | undefined>
  putConversation(conversation: Conversation): Promise<void>
  putMessages(...messages: Message[]): Promise<void>
  putFile(id: string, url: string): Promise<void>
  /** Removes conversations with their messages and files. */
  remove(...ids: string[]): Promise<void>
}

/** The store of the browser; one that lasts as long as the page where the browser keeps nothing. */
export async function openStore(name = 'llamapack'): Promise<{ store: Store; isKept: boolean }> {
  try {
    const database = await openDB<Schema>(name, VERSION, {
      upgrade(db) {
        db.createObjectStore('conversations', { keyPath: 'id' })
        db.createObjectStore('messages', { keyPath: 'id' }).createIndex('conversation', 'conversation')
        db.createObjectStore('files')
      },
      // A newer page in another tab wants to change the form: let it.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    return { store: new BrowserStore(database), isKept: true }
  } catch {
    return { store: new MemoryStore(), isKept: false }
  }
}

class BrowserStore implements Store {
  constructor(private readonly db: IDBPDatabase<Schema>) {}

  conversations(): Promise<Conversation[]> {
    return this.db.getAll('conversations')
  }

  conversation(id: string): Promise<Conversation | undefined> {
    return this.db.get('conversations', id)
  }

  messages(conversation: string): Promise<Message[]> {
    return this.db.getAllFromIndex('messages', 'conversation', conversation)
  }

  allMessages(): Promise<Message[]> {
    return this.db.getAll('messages')
  }

  file(id: string): Promise<string | undefined> {
    return this.db.get('files', id)
  }

  async putConversation(conversation: Conversation): Promise<void> {
    await this.db.put('conversations', conversation)
  }

  async putMessages(...messages: Message[]): Promise<void> {
    const transaction = this.db.transaction('messages', 'readwrite')
    for (const message of messages) void transaction.store.put(message)
    await transaction.done
  }

  async putFile(id: string, url: string): Promise<void> {
    await this.db.put('files', url, id)
  }

  async remove(...ids: string[]): Promise<void> {
    const transaction = this.db.transaction(['conversations', 'messages', 'files'], 'readwrite')
    for (const id of ids) {
      const messages = await transaction.objectStore('messages').index('conversation').getAll(id)
      for (const message of messages) {
        void transaction.objectStore('messages').delete(message.id)
        for (const attachment of message.attachments) void transaction.objectStore('files').delete(attachment.id)
      }
      void transaction.objectStore('conversations').delete(id)
    }
    await transaction.done
  }
}

export class MemoryStore implements Store {
  private readonly kept = new Map<string, Conversation>()
  private readonly keptMessages = new Map<string, Message>()
  private readonly files = new Map<string, string>()

  conversations(): Promise<Conversation[]> {
    return Promise.resolve([...this.kept.values()])
  }

  conversation(id: string): Promise<Conversation | undefined> {
    return Promise.resolve(this.kept.get(id))
  }

  messages(conversation: string): Promise<Message[]> {
    return Promise.resolve([...this.keptMessages.values()].filter((message) => message.conversation === conversation))
  }

  allMessages(): Promise<Message[]> {
    return Promise.resolve([...this.keptMessages.values()])
  }

  file(id: string): Promise<string | undefined> {
    return Promise.resolve(this.files.get(id))
  }

  putConversation(conversation: Conversation): Promise<void> {
    this.kept.set(conversation.id, conversation)
    return Promise.resolve()
  }

  putMessages(...messages: Message[]): Promise<void> {
    for (const message of messages) this.keptMessages.set(message.id, message)
    return Promise.resolve()
  }

  putFile(id: string, url: string): Promise<void> {
    this.files.set(id, url)
    return Promise.resolve()
  }

  remove(...ids: string[]): Promise<void> {
    for (const id of ids) this.kept.delete(id)
    for (const message of this.keptMessages.values()) {
      if (!ids.includes(message.conversation)) continue
      this.keptMessages.delete(message.id)
      for (const attachment of message.attachments) this.files.delete(attachment.id)
    }
    return Promise.resolve()
  }
}
