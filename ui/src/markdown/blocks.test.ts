import { describe, expect, it } from 'vitest'
import { BlockSplitter, LONG } from './blocks'

const withTail = (blocks: string[], splitter: BlockSplitter): string[] =>
  splitter.tail.text.trim() ? [...blocks, splitter.tail.text] : blocks

const whole = (text: string): string[] => {
  const splitter = new BlockSplitter()
  return withTail(splitter.append(text), splitter)
}

const pieces = (text: string, size: number): string[] => {
  const splitter = new BlockSplitter()
  const blocks: string[] = []
  for (let at = 0; at < text.length; at += size) blocks.push(...splitter.append(text.slice(at, at + size)))
  return withTail(blocks, splitter)
}

const trimmed = (blocks: string[]): string[] => blocks.map((block) => block.trim())

const DOCUMENT = `# Title

A paragraph
of two lines.

- one

  inside one
- two

1. first
2. second

\`\`\`python
def f():

    return 1
\`\`\`
After the code.

$$
x = 1

y = 2
$$

> a quote

| a | b |
|---|---|
| 1 | 2 |
`

describe('an open table', () => {
  const rowsAt = (text: string): number => {
    const splitter = new BlockSplitter()
    for (const char of text) splitter.append(char)
    return splitter.tail.rowsAt
  }
  const head = '| a | b |\n|---|:-:|\n'

  it('has rows after its head', () => {
    expect(rowsAt(head)).toBe(head.length)
    expect(rowsAt(`\n${head}| 1 | 2 |\n| 3 |`)).toBe(head.length + 1)
  })

  it('ends before the first word of what follows', () => {
    const splitter = new BlockSplitter()
    expect(splitter.append(`${head}| 1 | 2 |\n\n`)).toEqual([])
    expect(splitter.append('wo')).toEqual([`${head}| 1 | 2 |\n\n`])
    expect(splitter.tail.text).toBe('wo')
  })

  it.each([
    ['its head alone', '| a | b |\n'],
    ['a head that is not whole', '| a | b |\n|---|'],
    ['the beginning of another line', `${head}| 1 | 2 |\nwor`],
    ['another line than a row', `${head}| 1 | 2 |\nwords\n`],
    ['rows without a head', '| a | b |\n| 1 | 2 |\n| 3 | 4 |\n'],
    ['code', `\`\`\`\n${head}`],
    ['a list', `- x\n${head}`],
    ['words before it', `words\n${head}`],
    ['a table that ended', `${head}| 1 | 2 |\n\nwords\n`],
  ])('is not %s', (_, text) => expect(rowsAt(text)).toBe(-1))
})

describe('blocks', () => {
  it('end at blank lines, but not inside of lists, code and formulas', () => {
    expect(trimmed(whole(DOCUMENT))).toEqual([
      '# Title',
      'A paragraph\nof two lines.',
      '- one\n\n  inside one\n- two\n\n1. first\n2. second',
      '```python\ndef f():\n\n    return 1\n```',
      'After the code.',
      '$$\nx = 1\n\ny = 2\n$$',
      '> a quote',
      '| a | b |\n|---|---|\n| 1 | 2 |',
    ])
  })

  it.each([1, 2, 3, 7, 50])('are the same however the text comes: %i characters at a time', (size) => {
    expect(pieces(DOCUMENT, size)).toEqual(whole(DOCUMENT))
  })

  it('lose nothing', () => {
    expect(whole(DOCUMENT).join('')).toBe(DOCUMENT)
  })

  it('keep code of a list in its list', () => {
    const text = '- a\n\n  ```\n  x\n\n  y\n  ```\n- b\n\nend\n'
    expect(trimmed(whole(text))).toEqual([text.slice(0, text.indexOf('\nend')).trim(), 'end'])
  })

  it('close a fence only by a fence of its kind and length', () => {
    const text = '````md\n```\na\n```\n````\n\nb\n'
    expect(trimmed(whole(text))).toEqual(['````md\n```\na\n```\n````', 'b'])
  })

  it('tell where the code of an open fence begins', () => {
    const splitter = new BlockSplitter()
    splitter.append('Text\n\n```js title\nlet a')
    const { text, codeAt, info } = splitter.tail
    expect([text.slice(codeAt), info]).toEqual(['let a', 'js title'])
  })

  it.each([
    ['one line', 'word '.repeat(40_000)],
    ['a word', 'x'.repeat(200_000)],
    ['a list', '- item of a list\n'.repeat(10_000)],
    ['lines', 'a line of text\n'.repeat(10_000)],
    ['an indented list', '- a\n  - b b b b b b b b\n'.repeat(8_000)],
  ])('stay short in %s without an end', (_, text) => {
    const blocks = pieces(text, 1000)
    expect(blocks.join('')).toBe(text)
    expect(Math.max(...blocks.map((block) => block.length))).toBeLessThan(5 * LONG)
  })
})
