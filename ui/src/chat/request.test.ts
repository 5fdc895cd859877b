import { describe, expect, it } from 'vitest'
import { DEFAULT_SETTINGS, newMessage, type ChatSettings, type Message } from './model'
import { SettingsError, requestBody } from './request'

const message = (role: Message['role'], fields: Partial<Message>): Message =>
  newMessage({ conversation: 'c', parent: null, role, ...fields })
const body = (settings: Partial<ChatSettings>, ...path: Message[]) => requestBody({ ...DEFAULT_SETTINGS, ...settings }, path)
const TOOLS = '[{"type": "function", "function": {"name": "f"}}]'

describe('a request', () => {
  it('has what is set, and nothing else', () => {
    expect(body({}, message('user', { content: 'Hi' }))).toEqual({ messages: [{ role: 'user', content: 'Hi' }] })
    const settings: Partial<ChatSettings> = {
      model: 'm',
      system: 'Be kind.',
      stop: 'a\n\nb',
      thinking: 'off',
      tools: TOOLS,
      toolChoice: 'required',
      sampling: { ...DEFAULT_SETTINGS.sampling, temperature: 0, seed: 3 },
    }
    expect(body(settings, message('user', { content: 'Hi' }))).toEqual({
      model: 'm',
      messages: [
        { role: 'system', content: 'Be kind.' },
        { role: 'user', content: 'Hi' },
      ],
      temperature: 0,
      seed: 3,
      stop: ['a', 'b'],
      chat_template_kwargs: { enable_thinking: false },
      tools: JSON.parse(TOOLS),
      tool_choice: 'required',
    })
  })

  it.each([
    [{ format: 'json_object' }, { response_format: { type: 'json_object' } }],
    [
      { format: 'json_schema', schema: '{"type": "object"}' },
      { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: { type: 'object' } } } },
    ],
    [{ format: 'grammar', grammar: 'root ::= "a"' }, { grammar: 'root ::= "a"' }],
    [{ format: 'regex', regex: 'a+' }, { structured_outputs: { regex: 'a+' } }],
  ] as const)('asks for the form %j', (settings, fields) => {
    expect(body(settings)).toMatchObject(fields)
  })

  it('has thinking of the question at work alone', () => {
    const call = { id: 'x', name: 'f', arguments: '{}' }
    const { messages } = body(
      {},
      message('user', { content: 'a' }),
      message('assistant', { content: 'b', thinking: 'old' }),
      message('user', { content: 'c' }),
      message('assistant', { thinking: 'new', calls: [call] }),
      message('tool', { content: '1', callId: 'x' }),
    ) as { messages: Record<string, unknown>[] }
    expect(messages.map((one) => one.reasoning_content)).toEqual([undefined, undefined, undefined, 'new', undefined])
    expect(messages[3]!.tool_calls).toEqual([{ id: 'x', type: 'function', function: { name: 'f', arguments: '{}' } }])
    expect(messages[4]).toEqual({ role: 'tool', tool_call_id: 'x', content: '1' })
  })

  it.each([
    [{ format: 'json_schema', schema: '{' }, 'schema', 'Line 1'],
    [{ format: 'json_schema', schema: '[]' }, 'schema', 'object'],
    [{ format: 'grammar', grammar: ' ' }, 'grammar', ''],
    [{ tools: '{}' }, 'tools', 'list'],
    [{ tools: '[{"type": "function"}]' }, 'tools', 'Tool 1'],
    [{ tools: '[1,]' }, 'tools', 'column 4'],
  ] as const)('is not made of %j', (settings, field, word) => {
    try {
      body(settings)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(SettingsError)
      expect((error as SettingsError).field).toBe(field)
      expect((error as SettingsError).message).toContain(word)
    }
  })

  it('carries attached files', () => {
    const attachment = { id: 'f', name: 'a.pdf', type: 'application/pdf', size: 1, kind: 'document' } as const
    const asked = message('user', { content: 'What is this?', attachments: [attachment] })
    expect(requestBody(DEFAULT_SETTINGS, [asked], new Map([['f', 'data:application/pdf;base64,AA==']])).messages).toEqual([
      {
        role: 'user',
        content: [
          { type: 'file', file: { filename: 'a.pdf', file_data: 'data:application/pdf;base64,AA==' } },
          { type: 'text', text: 'What is this?' },
        ],
      },
    ])
  })
})
