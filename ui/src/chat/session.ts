// One conversation at work: its messages, its branches, and the answer that is being written.
import { computed, signal } from '@preact/signals'
import { ApiError, Unreachable } from '../api/errors'
import { requestedModel } from '../api/server'
import {
  newId,
  newMessage,
  titleOf,
  type Attachment,
  type ChatSettings,
  type Conversation,
  type Ending,
  type Message,
} from './model'
import { requestBody, SettingsError, type Body, type Files } from './request'
import { markRunning } from './running'
import { GrowingAnswer, answerSteps, describeFailure } from './stream'
import { MessageTree } from './tree'

/** Where a session keeps what it changes. */
export interface Keeper {
  keep(conversation: Conversation): Promise<void>
  keepMessages(...messages: Message[]): Promise<void>
  file(id: string): Promise<string | undefined>
  putFile(id: string, url: string): Promise<void>
}

/** An attached file with its content. */
export interface NewAttachment extends Attachment {
  readonly url: string
}

/** How the answer that is being written looks now. */
export interface Live {
  readonly id: string
  readonly content: string
  readonly thinking: string
  readonly isThinking: boolean
  readonly calls: Message['calls']
  readonly stats: Message['stats']
  readonly hasBegun: boolean
  /** The share of the prompt that is computed. */
  readonly progress: number
}

const KEEP_EVERY_MS = 1000

export class ChatSession {
  readonly conversation
  readonly messages
  readonly live = signal<Live | null>(null)
  /** Why the settings can't be used for a request; null if they can. */
  readonly problem = signal<SettingsError | null>(null)
  /** The text that the user writes. */
  readonly draft = signal('')
  readonly attachments = signal<readonly NewAttachment[]>([])
  /** The message that the user is changing; null is none. */
  readonly editing = signal<string | null>(null)
  readonly tree = computed(() => new MessageTree(this.messages.value))
  readonly path = computed(() => this.tree.value.path(this.conversation.value.leaf))
  readonly isRunning = computed(() => this.live.value !== null)
  readonly liveId = computed(() => this.live.value?.id ?? null)
  /** The calls of the last answer that nobody has answered. */
  readonly openCalls = computed(() => {
    const last = this.path.value.at(-1)
    return last?.role === 'assistant' && !this.isRunning.value ? last.calls : []
  })
  private running: AbortController | null = null
  private isForgotten = false

  constructor(
    conversation: Conversation,
    messages: readonly Message[],
    private readonly keeper: Keeper,
  ) {
    this.conversation = signal(conversation)
    this.messages = signal<readonly Message[]>(messages.map(withoutRunning))
  }

  /** Change the conversation's own fields. */
  async change(fields: Partial<Conversation>): Promise<void> {
    this.conversation.value = { ...this.conversation.value, ...fields }
    if (this.messages.value.length || this.conversation.value.pair) await this.keep()
  }

  setSettings(fields: Partial<ChatSettings>): void {
    this.problem.value = null
    void this.change({ settings: { ...this.conversation.value.settings, ...fields } })
  }

  /** Send a message and get its answer. */
  async send(content: string, attachments: readonly NewAttachment[] = []): Promise<void> {
    for (const { id, url } of attachments) await this.keeper.putFile(id, url)
    const message = newMessage({
      conversation: this.conversation.value.id,
      parent: this.path.value.at(-1)?.id ?? null,
      role: 'user',
      content,
      attachments: attachments.map(({ url: _, ...attachment }) => attachment),
    })
    this.add(message)
    await this.answer(message.id)
  }

  /** A new version of a message of the user, and its answer. */
  async edit(message: Message, content: string): Promise<void> {
    this.stop()
    const version = newMessage({ ...fieldsOf(message), role: 'user', content, attachments: message.attachments })
    this.add(version)
    await this.answer(version.id)
  }

  /** A new version of an answer, in the user's words. */
  editAnswer(message: Message, content: string): void {
    this.stop()
    this.add(
      newMessage({ ...fieldsOf(message), role: 'assistant', content, thinking: message.thinking, thinkingMs: message.thinkingMs, model: message.model, ending: 'stop' }),
    )
  }

  /** Another answer to what this answer answers. */
  async retry(message: Message): Promise<void> {
    this.stop()
    await this.answer(message.parent)
  }

  /** Continue an answer where it ends. */
  async continue(message: Message): Promise<void> {
    this.stop()
    await this.answer(message.parent, message)
  }

  /** The results of the last answer's calls, in their order, and the answer to them. */
  async answerCalls(results: readonly string[]): Promise<void> {
    let parent = this.path.value.at(-1)
    const calls = parent?.calls ?? []
    for (const [index, call] of calls.entries()) {
      const result: Message = newMessage({
        conversation: this.conversation.value.id,
        parent: parent?.id ?? null,
        role: 'tool',
        content: results[index] ?? '',
        callId: call.id,
      })
      this.add(result)
      parent = result
    }
    await this.answer(parent?.id ?? null)
  }

  /** Show the branch of another version. */
  async choose(version: Message): Promise<void> {
    await this.change({ leaf: this.tree.value.newestLeaf(version.id) })
  }

  stop(): void {
    this.running?.abort()
  }

  /** The conversation was removed: what still runs keeps nothing any more. */
  forget(): void {
    this.isForgotten = true
  }

  /** The request of an answer, as it was sent. Raises `SettingsError`. */
  async requestOf(message: Message): Promise<Body> {
    const path = this.tree.value.path(message.parent)
    const asked = message.parent === null ? [] : path
    return requestBody(message.settings ?? this.conversation.value.settings, asked, await this.files(asked))
  }

  /** Take over the messages that another session shows. */
  async copyBranch(other: ChatSession): Promise<void> {
    const ids = new Map(other.path.value.map((message) => [message.id, newId()]))
    const copies = other.path.value.filter((message) => message.id !== other.live.value?.id).map((message) => ({
      ...message,
      id: ids.get(message.id) ?? newId(),
      conversation: this.conversation.value.id,
      parent: message.parent === null ? null : (ids.get(message.parent) ?? null),
    }))
    this.messages.value = copies
    this.conversation.value = {
      ...this.conversation.value,
      title: other.conversation.value.title,
      leaf: copies.at(-1)?.id ?? null,
    }
    await this.keeper.keepMessages(...copies)
    await this.keep()
  }

  /** Show a message at once. The browser keeps it meanwhile. */
  private add(message: Message): void {
    const conversation = this.conversation.value
    this.messages.value = [...this.messages.value, message]
    const isFirst = message.role === 'user' && !conversation.title && !conversation.isNamed
    const title = isFirst ? titleOf(message.content || (message.attachments[0]?.name ?? '')) : conversation.title
    this.conversation.value = { ...conversation, leaf: message.id, updated: Date.now(), title }
    void this.keeper.keepMessages(message)
    void this.keep()
  }

  private async keep(): Promise<void> {
    if (!this.isForgotten) await this.keeper.keep(this.conversation.value)
  }

  private async files(path: readonly Message[]): Promise<Files> {
    const ids = path.flatMap((message) => message.attachments.map((attachment) => attachment.id))
    const found = await Promise.all(ids.map(async (id) => [id, (await this.keeper.file(id)) ?? ''] as const))
    return new Map(found)
  }

  private async answer(parent: string | null, begun?: Message): Promise<void> {
    const chosen = this.conversation.value.settings
    const settings = { ...chosen, model: requestedModel(chosen.model) }
    const path = parent === null ? [] : this.tree.value.path(parent)
    let body: Body
    try {
      body = requestBody(settings, begun ? [...path, begun] : path, await this.files(path))
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      this.problem.value = error
      return
    }
    const message =
      begun ?? newMessage({ conversation: this.conversation.value.id, parent, role: 'assistant', model: settings.model, settings })
    if (begun) this.replace({ ...begun, ending: '', error: '' })
    else this.add(message)
    await this.run(message, body)
  }

  private async run(message: Message, body: Body): Promise<void> {
    const controller = new AbortController()
    this.running = controller
    markRunning(message.conversation, true)
    const answer = new GrowingAnswer(() => performance.now(), message)
    const screen = new Screen(() => this.show(message.id, answer))
    let kept = performance.now()
    let [ending, error]: [Ending, string] = ['', '']
    this.show(message.id, answer)
    try {
      for await (const steps of answerSteps(body, controller.signal)) {
        for (const step of steps) answer.take(step)
        screen.ask()
        if (performance.now() - kept > KEEP_EVERY_MS) {
          kept = performance.now()
          void this.keepRunning(message, answer)
        }
      }
    } catch (failure) {
      ;[ending, error] = outcomeOf(failure, controller.signal)
    }
    screen.cancel()
    answer.endThinking()
    const ended = { ...grown(message, answer), ending: ending || answer.ending || 'stop', error }
    if (this.running === controller) {
      this.running = null
      this.live.value = null
      markRunning(message.conversation, false)
    }
    this.replace(ended)
    if (!this.isForgotten) {
      await this.keeper.keepMessages(ended)
      await this.change({ updated: Date.now() })
    }
  }

  private show(id: string, answer: GrowingAnswer): void {
    this.live.value = {
      id,
      content: answer.content,
      thinking: answer.thinking,
      isThinking: answer.isThinking,
      calls: answer.calls,
      stats: answer.stats,
      hasBegun: answer.hasBegun,
      progress: answer.progress,
    }
  }

  private async keepRunning(message: Message, answer: GrowingAnswer): Promise<void> {
    if (!this.isForgotten) await this.keeper.keepMessages(grown(message, answer))
  }

  private replace(message: Message): void {
    this.messages.value = this.messages.value.map((one) => (one.id === message.id ? message : one))
  }
}

/** Asks for at most one drawing a frame. */
class Screen {
  private frame = 0

  constructor(private readonly draw: () => void) {}

  ask(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0
      this.draw()
    })
  }

  cancel(): void {
    cancelAnimationFrame(this.frame)
  }
}

function outcomeOf(failure: unknown, signal: AbortSignal): [Ending, string] {
  if (signal.aborted) return ['stopped', '']
  if (failure instanceof ApiError || failure instanceof Unreachable) return ['failed', describeFailure(failure)]
  console.error(failure)
  return ['failed', describeFailure(failure)]
}

function grown(message: Message, answer: GrowingAnswer): Message {
  return {
    ...message,
    content: answer.content,
    thinking: answer.thinking,
    thinkingMs: Math.round(answer.thinkingMs),
    calls: answer.calls,
    model: answer.model || message.model,
    stats: answer.stats,
    ending: '',
    error: '',
  }
}

function fieldsOf(message: Message): Pick<Message, 'conversation' | 'parent'> {
  return { conversation: message.conversation, parent: message.parent }
}

/** An answer that was being written when the page was closed. */
function withoutRunning(message: Message): Message {
  return message.role === 'assistant' && message.ending === '' ? { ...message, ending: 'interrupted' } : message
}
