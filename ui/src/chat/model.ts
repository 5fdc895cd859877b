// The nouns of the chat. All are plain values, as the browser keeps them and an export holds them.

export type Role = 'user' | 'assistant' | 'tool'

export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON as the model wrote it. */
  readonly arguments: string
}

export type AttachmentKind = 'document' | 'image' | 'audio'

/** A file of a message. Its content is kept apart, under the same id. */
export interface Attachment {
  readonly id: string
  readonly name: string
  readonly type: string
  readonly size: number
  readonly kind: AttachmentKind
}

/** What an answer cost; 0 where the server didn't say. */
export interface Stats {
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly answerTokens: number
  readonly perSecond: number
  /** From sending the request to the first token, as the browser saw it. */
  readonly firstTokenMs: number
  readonly draftTokens: number
  readonly acceptedTokens: number
}

/** How an answer ended. `stopped` was the user, `interrupted` the page, `failed` the server. */
export type Ending = '' | 'stop' | 'length' | 'tool_calls' | 'stopped' | 'interrupted' | 'failed'

export interface Message {
  readonly id: string
  readonly conversation: string
  /** The message before it; null begins a conversation. */
  readonly parent: string | null
  readonly role: Role
  readonly created: number
  readonly content: string
  readonly thinking: string
  /** Milliseconds of thinking; 0 while unknown. */
  readonly thinkingMs: number
  readonly calls: readonly ToolCall[]
  /** Of a tool's result: the call that it answers. */
  readonly callId: string
  readonly attachments: readonly Attachment[]
  /** Of an answer: who gave it, with which settings. */
  readonly model: string
  readonly settings: ChatSettings | null
  readonly ending: Ending
  readonly error: string
  readonly stats: Stats | null
}

export type FormatKind = 'text' | 'json_object' | 'json_schema' | 'grammar' | 'regex'
export const FORMAT_KINDS: readonly FormatKind[] = ['text', 'json_object', 'json_schema', 'grammar', 'regex']
export type ThinkingChoice = 'default' | 'on' | 'off'
export type ToolChoice = 'auto' | 'required' | 'none'

/** The numbers of a request; null leaves one to the server. */
export interface Sampling {
  readonly temperature: number | null
  readonly top_p: number | null
  readonly top_k: number | null
  readonly min_p: number | null
  readonly repeat_penalty: number | null
  readonly presence_penalty: number | null
  readonly frequency_penalty: number | null
  readonly seed: number | null
  readonly max_tokens: number | null
}

export interface ChatSettings {
  /** The name of a model; "" is the server's own choice. */
  readonly model: string
  readonly system: string
  readonly sampling: Sampling
  /** One stop string a line. */
  readonly stop: string
  readonly thinking: ThinkingChoice
  readonly format: FormatKind
  readonly schema: string
  readonly grammar: string
  readonly regex: string
  /** JSON: a list of tools, as OpenAI's API takes it; "" is none. */
  readonly tools: string
  readonly toolChoice: ToolChoice
}

export interface Conversation {
  readonly id: string
  readonly title: string
  /** Whether the user gave the title. */
  readonly isNamed: boolean
  readonly created: number
  readonly updated: number
  /** The last message of the branch that is shown; null while there is no message. */
  readonly leaf: string | null
  readonly settings: ChatSettings
  /** Of a comparison: the conversation on the other side. */
  readonly pair: string | null
  /** Of a comparison: whether this is the right side, which the list doesn't show. */
  readonly isSecond: boolean
}

export const NO_SAMPLING: Sampling = {
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  repeat_penalty: null,
  presence_penalty: null,
  frequency_penalty: null,
  seed: null,
  max_tokens: null,
}

export const DEFAULT_SETTINGS: ChatSettings = {
  model: '',
  system: '',
  sampling: NO_SAMPLING,
  stop: '',
  thinking: 'default',
  format: 'text',
  schema: '',
  grammar: '',
  regex: '',
  tools: '',
  toolChoice: 'auto',
}

export function newId(): string {
  // `randomUUID` is missing where the page came over plain HTTP from another machine.
  const bytes = crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function newConversation(settings: ChatSettings = DEFAULT_SETTINGS, now = Date.now()): Conversation {
  return {
    id: newId(),
    title: '',
    isNamed: false,
    created: now,
    updated: now,
    leaf: null,
    settings,
    pair: null,
    isSecond: false,
  }
}

/** A message with the given fields; the others are empty. */
export function newMessage(
  fields: Pick<Message, 'conversation' | 'parent' | 'role'> & Partial<Message>,
  now = Date.now(),
): Message {
  return {
    id: newId(),
    created: now,
    content: '',
    thinking: '',
    thinkingMs: 0,
    calls: [],
    callId: '',
    attachments: [],
    model: '',
    settings: null,
    ending: '',
    error: '',
    stats: null,
    ...fields,
  }
}

const TITLE_CHARS = 64

/** A title out of the first message. */
export function titleOf(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ')
  if (line.length <= TITLE_CHARS) return line
  const cut = line.slice(0, TITLE_CHARS)
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), TITLE_CHARS - 16))}…`
}
