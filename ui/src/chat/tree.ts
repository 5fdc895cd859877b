// The tree of a conversation's messages: each edit and each new answer is a branch.
import type { Message } from './model'

export class MessageTree {
  private readonly byId: ReadonlyMap<string, Message>
  private readonly childrenOf: ReadonlyMap<string | null, readonly Message[]>

  constructor(messages: Iterable<Message>) {
    const sorted = [...messages].sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))
    this.byId = new Map(sorted.map((message) => [message.id, message]))
    const children = new Map<string | null, Message[]>()
    for (const message of sorted) {
      const parent = message.parent !== null && this.byId.has(message.parent) ? message.parent : null
      children.set(parent, [...(children.get(parent) ?? []), message])
    }
    this.childrenOf = children
  }

  get(id: string | null): Message | undefined {
    return id === null ? undefined : this.byId.get(id)
  }

  /** The messages from the beginning to `leaf`, which is the newest message if it is unknown. */
  path(leaf: string | null): Message[] {
    const path: Message[] = []
    const seen = new Set<string>()
    let message = this.get(leaf) ?? this.get(this.newestLeaf(null))
    while (message && !seen.has(message.id)) {
      seen.add(message.id)
      path.push(message)
      message = this.get(message.parent)
    }
    return path.reverse()
  }

  /** The versions of a message: all that follow the same message, the oldest first. */
  siblings(message: Message): readonly Message[] {
    const parent = message.parent !== null && this.byId.has(message.parent) ? message.parent : null
    return this.childrenOf.get(parent) ?? [message]
  }

  /** The last message below `id` by its newest branch; `id` itself if nothing follows it. */
  newestLeaf(id: string | null): string | null {
    let leaf = id
    for (const seen = new Set<string | null>(); !seen.has(leaf); ) {
      seen.add(leaf)
      leaf = this.childrenOf.get(leaf)?.at(-1)?.id ?? leaf
    }
    return leaf
  }
}
