// The request for an answer: a branch of messages and the settings become a body of the API.
import { JsonError, parseJson } from '../json/parse'
import { isRecord } from '../api/errors'
import { texts } from '../texts'
import type { Attachment, ChatSettings, Message } from './model'

/** A part of the settings that can't be used. */
export class SettingsError extends Error {
  constructor(
    readonly field: 'tools' | 'schema' | 'grammar' | 'regex',
    message: string,
  ) {
    super(message)
    this.name = 'SettingsError'
  }
}

export type Body = Record<string, unknown>

/** The content of attached files as data URLs, by their id. */
export type Files = ReadonlyMap<string, string>

/** The body for the answer to `path`. Raises `SettingsError`. */
export function requestBody(settings: ChatSettings, path: readonly Message[], files: Files = new Map()): Body {
  const stops = settings.stop.split('\n').filter((line) => line !== '')
  const tools = toolsOf(settings.tools)
  return {
    ...(settings.model ? { model: settings.model } : {}),
    messages: messagesOf(settings, path, files),
    ...Object.fromEntries(Object.entries(settings.sampling).filter(([, value]) => value !== null)),
    ...(stops.length ? { stop: stops } : {}),
    ...(settings.thinking === 'default' ? {} : { chat_template_kwargs: { enable_thinking: settings.thinking === 'on' } }),
    ...formatFields(settings),
    ...(tools.length ? { tools, ...(settings.toolChoice === 'auto' ? {} : { tool_choice: settings.toolChoice }) } : {}),
  }
}

/** What a streamed answer needs besides. */
export const STREAM_FIELDS: Body = {
  stream: true,
  stream_options: { include_usage: true },
  return_progress: true,
  timings_per_token: true,
}

/** The tools that the settings list. Raises `SettingsError` with the place of what is wrong. */
export function toolsOf(text: string): readonly Record<string, unknown>[] {
  if (!text.trim()) return []
  const tools = parsed('tools', text)
  if (!Array.isArray(tools)) throw new SettingsError('tools', texts.json.listOfTools)
  tools.forEach((tool: unknown, index) => {
    const isNamed = isRecord(tool) && isRecord(tool.function) && typeof tool.function.name === 'string'
    if (!isNamed) throw new SettingsError('tools', texts.json.tool(index + 1))
  })
  return tools as Record<string, unknown>[]
}

function formatFields(settings: ChatSettings): Body {
  switch (settings.format) {
    case 'text':
      return {}
    case 'json_object':
      return { response_format: { type: 'json_object' } }
    case 'json_schema': {
      const schema = parsed('schema', settings.schema)
      if (!isRecord(schema)) throw new SettingsError('schema', texts.json.schema)
      return { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema } } }
    }
    case 'grammar':
      if (!settings.grammar.trim()) throw new SettingsError('grammar', texts.json.empty)
      return { grammar: settings.grammar }
    case 'regex':
      if (!settings.regex) throw new SettingsError('regex', texts.json.empty)
      return { structured_outputs: { regex: settings.regex } }
  }
}

function parsed(field: 'tools' | 'schema', text: string): unknown {
  try {
    return parseJson(text)
  } catch (error) {
    if (error instanceof JsonError) {
      throw new SettingsError(field, `${texts.chatSettings.place(error.line, error.column)}: ${error.message}`)
    }
    throw error
  }
}

function messagesOf(settings: ChatSettings, path: readonly Message[], files: Files): Body[] {
  const system = settings.system.trim() ? [{ role: 'system', content: settings.system }] : []
  // What the model thought matters while it works on the same question, and is left out later.
  const lastQuestion = path.findLastIndex((message) => message.role === 'user')
  return [...system, ...path.map((message, index) => messageBody(message, files, index > lastQuestion))]
}

function messageBody(message: Message, files: Files, withThinking: boolean): Body {
  switch (message.role) {
    case 'user':
      return { role: 'user', content: userContent(message, files) }
    case 'tool':
      return { role: 'tool', tool_call_id: message.callId, content: message.content }
    case 'assistant':
      return {
        role: 'assistant',
        content: message.content,
        ...(withThinking && message.thinking ? { reasoning_content: message.thinking } : {}),
        ...(message.calls.length
          ? {
              tool_calls: message.calls.map((call) => ({
                id: call.id,
                type: 'function',
                function: { name: call.name, arguments: call.arguments },
              })),
            }
          : {}),
      }
  }
}

function userContent(message: Message, files: Files): string | Body[] {
  if (!message.attachments.length) return message.content
  const parts = message.attachments.map((attachment) => filePart(attachment, files.get(attachment.id) ?? ''))
  return message.content ? [...parts, { type: 'text', text: message.content }] : parts
}

function filePart(attachment: Attachment, url: string): Body {
  switch (attachment.kind) {
    case 'document':
      return { type: 'file', file: { filename: attachment.name, file_data: url } }
    case 'image':
      return { type: 'image_url', image_url: { url } }
    case 'audio':
      return {
        type: 'input_audio',
        input_audio: { data: url.slice(url.indexOf(',') + 1), format: attachment.type.includes('wav') ? 'wav' : 'mp3' },
      }
  }
}
