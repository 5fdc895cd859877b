import { describe, expect, it } from 'vitest'
import { newConversation, newMessage } from '../chat/model'
import { NotImported, archiveOf, readArchive } from './transfer'

const conversation = { ...newConversation(), title: 'Hallo <b>', leaf: 'm2' }
const archive = archiveOf(
  [conversation],
  [
    newMessage({
      conversation: conversation.id,
      parent: null,
      role: 'user',
      id: 'm1',
      content: 'a',
      attachments: [{ id: 'f', name: 'a.txt', type: 'text/plain', size: 3, kind: 'document' }],
    }),
    newMessage({ conversation: conversation.id, parent: 'm1', role: 'assistant', id: 'm2', content: 'b', ending: 'stop' }),
    newMessage({ conversation: 'another', parent: null, role: 'user', content: 'belongs to nothing' }),
  ],
  { f: 'data:text/plain;base64,YWJj' },
)

describe('an export', () => {
  it('comes back with everything, under new ids', () => {
    const read = readArchive(JSON.stringify(archive))
    const [found] = read.conversations
    expect(found).toEqual({ ...conversation, id: found!.id, leaf: read.messages[1]!.id })
    expect(found!.id).not.toBe(conversation.id)
    expect(read.messages.map((message) => [message.content, message.conversation])).toEqual([
      ['a', found!.id],
      ['b', found!.id],
    ])
    expect(read.messages[1]!.parent).toBe(read.messages[0]!.id)
    expect(read.files[read.messages[0]!.attachments[0]!.id]).toBe('data:text/plain;base64,YWJj')
  })

  it.each([
    ['{', 'JSON'],
    ['[]', 'export'],
    ['{"kind": "llamapack-chats", "version": 99}', 'newer'],
    [JSON.stringify({ ...archive, conversations: [{ ...conversation, title: 1 }] }), 'conversations.0.title'],
    [JSON.stringify({ ...archive, messages: [{ ...archive.messages[0], role: 'root' }] }), 'messages.0.role'],
    [JSON.stringify({ ...archive, files: { f: 'https://example.com/' } }), 'files.f'],
    [JSON.stringify({ ...archive, conversations: [{ ...conversation, created: '1' }] }), 'conversations.0.created'],
  ])('is refused where it is wrong: %s', (text, word) => {
    expect(() => readArchive(text)).toThrow(NotImported)
    expect(() => readArchive(text)).toThrow(word)
  })

  it('of an older page gets defaults for what it lacks', () => {
    const old = { ...archive, conversations: [{ ...conversation, settings: { system: 'Be brief.', sampling: { temperature: 0 } } }] }
    const [found] = readArchive(JSON.stringify(old)).conversations
    expect(found!.settings.system).toBe('Be brief.')
    expect(found!.settings.sampling.temperature).toBe(0)
    expect(found!.settings.sampling.seed).toBeNull()
    expect(found!.settings.format).toBe('text')
  })
})
