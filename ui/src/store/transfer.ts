// Exports and imports: conversations as one JSON file. What comes in is checked, field by field.
import { isRecord } from '../api/errors'
import {
  DEFAULT_SETTINGS,
  FORMAT_KINDS,
  NO_SAMPLING,
  newId,
  type Attachment,
  type ChatSettings,
  type Conversation,
  type Ending,
  type Message,
  type Stats,
  type ToolCall,
} from '../chat/model'
import { texts } from '../texts'

const KIND = 'llamapack-chats'
const VERSION = 1
export const MOST_BYTES = 256 * 1024 * 1024

export interface Archive {
  readonly kind: typeof KIND
  readonly version: number
  readonly conversations: readonly Conversation[]
  readonly messages: readonly Message[]
  readonly files: Readonly<Record<string, string>>
}

/** A file that is no export, with the reason in the user's words. */
export class NotImported extends Error {}

export function archiveOf(
  conversations: readonly Conversation[],
  messages: readonly Message[],
  files: Readonly<Record<string, string>>,
): Archive {
  return { kind: KIND, version: VERSION, conversations, messages, files }
}

/** The conversations of an export, under new ids, so that they replace nothing. Raises `NotImported`. */
export function readArchive(text: string): Archive {
  const data = parsed(text)
  if (!isRecord(data) || data.kind !== KIND) throw new NotImported(texts.imports.noChats)
  if (data.version !== VERSION) throw new NotImported(texts.imports.newer)
  const ids = new Ids()
  const conversations = list(data.conversations, 'conversations').map((one, n) => conversation(one, `conversations.${n}`, ids))
  const known = new Set(conversations.map((one) => one.id))
  const messages = list(data.messages, 'messages')
    .map((one, n) => message(one, `messages.${n}`, ids))
    .filter((one) => known.has(one.conversation))
  const files = record(data.files ?? {}, 'files')
  const kept = Object.entries(files).map(([id, url]) => [ids.of(id), dataUrl(url, `files.${id}`)])
  return archiveOf(conversations, messages, Object.fromEntries(kept) as Record<string, string>)
}

/** New ids for old ones, the same for the same. */
class Ids {
  private readonly known = new Map<string, string>()

  of(old: string): string {
    const id = this.known.get(old) ?? newId()
    this.known.set(old, id)
    return id
  }

  orNull(old: unknown, place: string): string | null {
    return old === null || old === undefined ? null : this.of(string(old, place))
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new NotImported(texts.imports.noJson)
  }
}

function conversation(value: unknown, place: string, ids: Ids): Conversation {
  const data = record(value, place)
  return {
    id: ids.of(string(data.id, `${place}.id`)),
    title: string(data.title, `${place}.title`),
    isNamed: data.isNamed === true,
    created: number(data.created, `${place}.created`),
    updated: number(data.updated, `${place}.updated`),
    leaf: ids.orNull(data.leaf, `${place}.leaf`),
    settings: settings(data.settings, `${place}.settings`),
    pair: ids.orNull(data.pair, `${place}.pair`),
    isSecond: data.isSecond === true,
  }
}

function message(value: unknown, place: string, ids: Ids): Message {
  const data = record(value, place)
  return {
    id: ids.of(string(data.id, `${place}.id`)),
    conversation: ids.of(string(data.conversation, `${place}.conversation`)),
    parent: ids.orNull(data.parent, `${place}.parent`),
    role: oneOf(data.role, ['user', 'assistant', 'tool'] as const, `${place}.role`),
    created: number(data.created, `${place}.created`),
    content: string(data.content, `${place}.content`),
    thinking: string(data.thinking ?? '', `${place}.thinking`),
    thinkingMs: number(data.thinkingMs ?? 0, `${place}.thinkingMs`),
    calls: list(data.calls ?? [], `${place}.calls`).map((one, n) => call(one, `${place}.calls.${n}`)),
    callId: string(data.callId ?? '', `${place}.callId`),
    attachments: list(data.attachments ?? [], `${place}.attachments`).map((one, n) =>
      attachment(one, `${place}.attachments.${n}`, ids),
    ),
    model: string(data.model ?? '', `${place}.model`),
    settings: data.settings ? settings(data.settings, `${place}.settings`) : null,
    ending: oneOf(data.ending ?? '', ENDINGS, `${place}.ending`),
    error: string(data.error ?? '', `${place}.error`),
    stats: data.stats ? stats(data.stats, `${place}.stats`) : null,
  }
}

const ENDINGS: readonly Ending[] = ['', 'stop', 'length', 'tool_calls', 'stopped', 'interrupted', 'failed']

function call(value: unknown, place: string): ToolCall {
  const data = record(value, place)
  return {
    id: string(data.id, `${place}.id`),
    name: string(data.name, `${place}.name`),
    arguments: string(data.arguments, `${place}.arguments`),
  }
}

function attachment(value: unknown, place: string, ids: Ids): Attachment {
  const data = record(value, place)
  return {
    id: ids.of(string(data.id, `${place}.id`)),
    name: string(data.name, `${place}.name`),
    type: string(data.type, `${place}.type`),
    size: number(data.size, `${place}.size`),
    kind: oneOf(data.kind, ['document', 'image', 'audio'] as const, `${place}.kind`),
  }
}

function stats(value: unknown, place: string): Stats {
  const data = record(value, place)
  const field = (name: keyof Stats): number => number(data[name] ?? 0, `${place}.${name}`)
  return {
    promptTokens: field('promptTokens'),
    cachedTokens: field('cachedTokens'),
    answerTokens: field('answerTokens'),
    perSecond: field('perSecond'),
    firstTokenMs: field('firstTokenMs'),
    draftTokens: field('draftTokens'),
    acceptedTokens: field('acceptedTokens'),
  }
}

/** Settings of any age: what is missing has its default. */
export function settings(value: unknown, place = 'settings'): ChatSettings {
  const data = record(value, place)
  const text = (name: keyof ChatSettings): string => string(data[name] ?? '', `${place}.${name}`)
  const sampling = record(data.sampling ?? {}, `${place}.sampling`)
  const numbers = Object.keys(NO_SAMPLING).map((name) => [
    name,
    typeof sampling[name] === 'number' && Number.isFinite(sampling[name]) ? sampling[name] : null,
  ])
  return {
    model: text('model'),
    system: text('system'),
    sampling: { ...NO_SAMPLING, ...(Object.fromEntries(numbers) as Partial<ChatSettings['sampling']>) },
    stop: text('stop'),
    thinking: oneOf(data.thinking ?? 'default', ['default', 'on', 'off'] as const, `${place}.thinking`),
    format: oneOf(data.format ?? DEFAULT_SETTINGS.format, FORMAT_KINDS, `${place}.format`),
    schema: text('schema'),
    grammar: text('grammar'),
    regex: text('regex'),
    tools: text('tools'),
    toolChoice: oneOf(data.toolChoice ?? 'auto', ['auto', 'required', 'none'] as const, `${place}.toolChoice`),
  }
}

function dataUrl(value: unknown, place: string): string {
  const url = string(value, place)
  return url.startsWith('data:') ? url : wrong(place)
}

function string(value: unknown, place: string): string {
  return typeof value === 'string' ? value : wrong(place)
}

function number(value: unknown, place: string): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : wrong(place)
}

function list(value: unknown, place: string): unknown[] {
  return Array.isArray(value) ? value : wrong(place)
}

function record(value: unknown, place: string): Record<string, unknown> {
  return isRecord(value) ? value : wrong(place)
}

function oneOf<T>(value: unknown, allowed: readonly T[], place: string): T {
  return allowed.find((one) => one === value) ?? wrong(place)
}

function wrong(place: string): never {
  throw new NotImported(texts.imports.wrong(place))
}
