// A reader of JSON that says where a text is wrong, the same way in every browser.
import { texts } from '../texts'

const MOST_DEPTH = 200

/** A text is no JSON. Lines and columns count from 1, the offset from 0. */
export class JsonError extends Error {
  readonly line: number
  readonly column: number

  constructor(
    message: string,
    text: string,
    readonly offset: number,
  ) {
    super(message)
    this.name = 'JsonError'
    const before = text.slice(0, offset)
    this.line = before.split('\n').length
    this.column = offset - (before.lastIndexOf('\n') + 1) + 1
  }
}

/** The value of a JSON text. Raises `JsonError`. */
export function parseJson(text: string): unknown {
  return new Parser(text).document()
}

/** Where in the text the value of a JSON pointer stands; null if the text has no such value. */
export function placeOf(text: string, pointer: string): number | null {
  const parser = new Parser(text)
  try {
    parser.document()
  } catch {
    return null
  }
  return parser.places.get(pointer) ?? null
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', '"': '"', '\\': '\\', '/': '/' }

class Parser {
  /** Offsets of all values by their JSON pointer; of a member, the offset of its name. */
  readonly places = new Map<string, number>()
  private at = 0

  constructor(private readonly text: string) {}

  document(): unknown {
    this.space()
    if (this.at === this.text.length) this.fail(texts.json.empty)
    const value = this.value('', 0)
    this.space()
    if (this.at < this.text.length) this.unexpected()
    return value
  }

  private value(pointer: string, depth: number): unknown {
    if (depth > MOST_DEPTH) this.fail(texts.json.depth)
    if (!this.places.has(pointer)) this.places.set(pointer, this.at)
    const char = this.text[this.at]
    if (char === '{') return this.object(pointer, depth)
    if (char === '[') return this.array(pointer, depth)
    if (char === '"') return this.string()
    if (char === '-' || (char !== undefined && char >= '0' && char <= '9')) return this.number()
    return this.word()
  }

  private object(pointer: string, depth: number): Record<string, unknown> {
    const members: Array<[string, unknown]> = []
    const names = new Set<string>()
    this.at++
    for (let isFirst = true; ; isFirst = false) {
      this.space()
      if (isFirst && this.takes('}')) break
      if (this.text[this.at] !== '"') this.missing(texts.json.string)
      const start = this.at
      const name = this.string()
      if (names.has(name)) this.fail(texts.json.twice(name), start)
      names.add(name)
      const inner = `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`
      this.places.set(inner, start)
      this.space()
      if (!this.takes(':')) this.missing('“:”')
      this.space()
      members.push([name, this.value(inner, depth + 1)])
      this.space()
      if (this.takes('}')) break
      if (!this.takes(',')) this.missing('“,” or “}”')
    }
    return Object.fromEntries(members)
  }

  private array(pointer: string, depth: number): unknown[] {
    const items: unknown[] = []
    this.at++
    for (;;) {
      this.space()
      if (!items.length && this.takes(']')) break
      items.push(this.value(`${pointer}/${items.length}`, depth + 1))
      this.space()
      if (this.takes(']')) break
      if (!this.takes(',')) this.missing('“,” or “]”')
    }
    return items
  }

  private string(): string {
    const start = this.at++
    let value = ''
    for (;;) {
      const char = this.text[this.at]
      if (char === undefined || char < ' ') this.fail(texts.json.badString, start)
      this.at++
      if (char === '"') return value
      value += char === '\\' ? this.escape() : char
    }
  }

  private escape(): string {
    const char = this.text[this.at] ?? ''
    if (char === 'u') {
      const digits = this.text.slice(this.at + 1, this.at + 5)
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail(texts.json.badEscape, this.at - 1)
      this.at += 5
      return String.fromCharCode(parseInt(digits, 16))
    }
    const meant = ESCAPES[char]
    if (meant === undefined) this.fail(texts.json.badEscape, this.at - 1)
    this.at++
    return meant
  }

  private number(): number {
    const found = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/.exec(this.text.slice(this.at, this.at + 400))
    if (!found) this.fail(texts.json.badNumber)
    this.at += found[0].length
    return Number(found[0])
  }

  private word(): boolean | null {
    for (const [word, value] of [['true', true], ['false', false], ['null', null]] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length
        return value
      }
    }
    return this.missing(texts.json.value)
  }

  private space(): void {
    while (/[ \t\n\r]/.test(this.text[this.at] ?? '')) this.at++
  }

  private takes(char: string): boolean {
    if (this.text[this.at] !== char) return false
    this.at++
    return true
  }

  private missing(what: string): never {
    this.fail(this.at === this.text.length ? texts.json.end : texts.json.expected(what))
  }

  private unexpected(): never {
    this.fail(texts.json.unexpected(this.text[this.at] ?? ''))
  }

  private fail(message: string, at = this.at): never {
    throw new JsonError(message, this.text, at)
  }
}
