import { describe, expect, it } from 'vitest'
import { ApiError } from './errors'
import { EventReader, eventJson } from './sse'

const STREAM = 'data: {"a": 1}\n\n: a ping\n\nevent: done\nid: 7\ndata: one\ndata: two\r\n\r\ndata: [DONE]\n\n'

describe('server-sent events', () => {
  it.each([1, 2, 3, 5, 1000])('are read in pieces of %i characters', (size) => {
    const reader = new EventReader()
    const events = []
    for (let at = 0; at < STREAM.length; at += size) events.push(...reader.feed(STREAM.slice(at, at + size)))
    expect(events).toEqual([
      { name: 'message', data: '{"a": 1}', id: '' },
      { name: 'done', data: 'one\ntwo', id: '7' },
      { name: 'message', data: '[DONE]', id: '7' },
    ])
  })

  it('give nothing before they end', () => {
    expect(new EventReader().feed('data: {"a": 1}\n')).toEqual([])
  })

  it.each([
    ['data: {"error": {"code": 503, "message": "it ends"}}\n\n', 503, 'it ends'],
    ['error: {"code": 400, "message": "too slow", "type": "x"}\n\n', 400, 'too slow'],
    ['event: error\ndata: {"error": {"message": "no"}}\n\n', 500, 'no'],
  ])('that are errors are raised: %j', (text, status, message) => {
    const [event] = new EventReader().feed(text)
    try {
      eventJson(event!)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(ApiError)
      expect([(error as ApiError).status, (error as ApiError).message]).toEqual([status, message])
    }
  })
})
