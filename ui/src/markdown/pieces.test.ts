import { describe, expect, it } from 'vitest'
import { MOST_WHOLE, piecesOf } from './pieces'

const FUNCTION = 'def f():\n    a = 1\n\n    return a\n\n\n'

describe('pieces of code', () => {
  it('are one where the code is short', () => {
    expect(piecesOf(FUNCTION)).toEqual([FUNCTION])
    expect(piecesOf('')).toEqual([])
  })

  it('end between functions, not inside of them', () => {
    const pieces = piecesOf(FUNCTION.repeat(400))
    expect(pieces.length).toBeGreaterThan(3)
    expect(pieces.every((piece) => piece.startsWith('def f'))).toBe(true)
  })

  it.each([
    ['functions', FUNCTION.repeat(400)],
    ['no empty line', 'x = 1\n'.repeat(3000)],
    ['no line end', 'x'.repeat(20_000)],
    ['many line ends', '\n'.repeat(9000)],
  ])('are the whole code together, none of them long: %s', (_, code) => {
    const pieces = piecesOf(code)
    expect(pieces.join('')).toBe(code)
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(MOST_WHOLE)
  })
})
