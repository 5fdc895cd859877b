import { describe, expect, it } from 'vitest'
import { parseRoute } from '../app/router'
import { offsetOf } from './checking'

const SCHEMA = '{\n  "properties": {"a": {"type": "x"}}\n}'
const GRAMMAR = 'root ::= a\na ::= "x\n'

describe('the place of an error', () => {
  it.each([
    ['schema', SCHEMA, '/properties/a/type', '"type"'],
    ['schema', SCHEMA, '/properties/a/none', '"a"'],
    ['schema', SCHEMA, '', '{\n'],
    ['grammar', GRAMMAR, '2:7', '"x'],
    ['grammar', GRAMMAR, '1:1', 'root'],
  ] as const)('in a %s is found', (kind, text, place, beginning) => {
    expect(text.slice(offsetOf(kind, text, place)!).startsWith(beginning)).toBe(true)
  })

  it.each([null, '99:1', 'somewhere'])('may be unknown: %s', (place) => {
    expect(offsetOf('grammar', GRAMMAR, place)).toBeNull()
  })
})

describe('an address', () => {
  it.each([
    ['', 'chat', ''],
    ['#/chat/abc', 'chat', 'abc'],
    ['#/room', 'room', ''],
    ['#/settings/', 'settings', ''],
    ['#/nothing/x', 'chat', ''],
    ['#/chat/%', 'chat', ''],
    ['#/models/a%2Fb', 'models', 'a/b'],
  ])('%s leads to a view', (hash, view, item) => {
    expect(parseRoute(hash)).toEqual({ view, item })
  })
})
