import { describe, expect, it } from 'vitest'
import { JsonError, parseJson, placeOf } from './parse'

const failure = (text: string): JsonError => {
  try {
    parseJson(text)
  } catch (error) {
    if (error instanceof JsonError) return error
  }
  throw new Error(`${text} was read`)
}

describe('parseJson', () => {
  it.each([
    '{}',
    '[]',
    ' {"a": [1, -2.5e3, 0], "b": {"c": null}, "d": true, "": ""} ',
    '"\\u00e9\\n\\"\\\\"',
    '[[[1]]]',
    '{"__proto__": 1}',
  ])('reads %s as the browser does', (text) => {
    expect(parseJson(text)).toEqual(JSON.parse(text))
  })

  it.each([
    ['{"a": 1,}', 1, 9],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3],
    ['{"a": tru}', 1, 7],
    ['[1, 2', 1, 6],
    ['{"a": 01}', 1, 7],
    ['{"a": "b\n"}', 1, 7],
    ['{"a": "\\x"}', 1, 8],
    ['{"a": 1, "a": 2}', 1, 10],
    ['', 1, 1],
    ['{} {}', 1, 4],
    ["{'a': 1}", 1, 2],
    ['[1,,2]', 1, 4],
  ])('says where %j is wrong', (text, line, column) => {
    const error = failure(text)
    expect([error.line, error.column]).toEqual([line, column])
    expect(error.message).not.toBe('')
  })

  it('does not overflow', () => {
    expect(failure('['.repeat(100_000))).toBeInstanceOf(JsonError)
  })
})

describe('placeOf', () => {
  const text = '{\n  "properties": {\n    "a/b": {"type": "x"}\n  },\n  "list": [1, {"y": 2}]\n}'

  it.each([
    ['', '{'],
    ['/properties', '"properties"'],
    ['/properties/a~1b/type', '"type"'],
    ['/list/1/y', '"y"'],
    ['/list/0', '1'],
  ])('finds %s', (pointer, beginning) => {
    expect(text.slice(placeOf(text, pointer)!)).toMatch(new RegExp(`^${beginning.replace('{', '\\{')}`))
  })

  it('finds nothing where there is nothing', () => {
    expect(placeOf(text, '/none')).toBeNull()
    expect(placeOf('{', '')).toBeNull()
  })
})
