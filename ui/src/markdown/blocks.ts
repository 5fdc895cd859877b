// Splits a growing Markdown text into blocks, so that only the last block is rendered again.

/** Characters after which a block ends even without a blank line, so that no block grows for ever. */
export const LONG = 4000

const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/
const LIST_ITEM = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)/
const TABLE_ROW = /^ {0,3}\|/
const TABLE_HEAD = /^ {0,3}\|[^\n]*\n {0,3}\|[ \t:|-]*-[ \t:|-]*$/
const INDENTED = /^(?: {2,}|\t)/

/** A block that ended. */
export type Block = string

/** The text of the last block: Markdown, or the inside of a fence that is still open. */
export interface Tail {
  readonly text: string
  /** Where the code of an open fence begins in the text; -1 outside of a fence. */
  readonly codeAt: number
  /** What stands behind the opening fence. */
  readonly info: string
  /** Where the rows of an open table begin in the text; -1 outside of a table. */
  readonly rowsAt: number
}

export class BlockSplitter {
  private text = ''
  /** How much of `text` is read in whole lines. */
  private read = 0
  private fence = ''
  private codeAt = -1
  private rowsAt = -1
  private info = ''
  private mathEnd = ''
  private isList = false
  private hasBlank = false

  get tail(): Tail {
    const open = this.text.slice(this.read)
    return { text: this.text, codeAt: this.codeAt, info: this.info, rowsAt: !open || TABLE_ROW.test(open) ? this.rowsAt : -1 }
  }

  /** Take more text. Returns the blocks that ended. */
  append(piece: string): Block[] {
    this.text += piece
    const blocks: Block[] = []
    for (let end = this.text.indexOf('\n', this.read); end >= 0; end = this.text.indexOf('\n', this.read)) {
      this.line(this.text.slice(this.read, end), end + 1, blocks)
    }
    this.cutBeforeOpenLine(blocks)
    this.cutLongLine(blocks)
    return blocks
  }

  /** One whole line, which ends at `next`. */
  private line(line: string, next: number, blocks: Block[]): void {
    if (this.fence) return this.lineOfCode(line, next, blocks)
    if (this.mathEnd) {
      if (line.includes(this.mathEnd)) this.mathEnd = ''
      this.read = next
      return
    }
    if (!line.trim()) {
      this.hasBlank = true
      this.read = next
      return
    }
    if (this.endsBefore(line)) {
      const length = next - this.read
      this.cut(this.read, blocks)
      next = length
    }
    this.hasBlank = false
    if (!TABLE_ROW.test(line)) this.rowsAt = -1
    else if (this.rowsAt < 0 && TABLE_HEAD.test(this.text.slice(0, next - 1).trimStart())) this.rowsAt = next
    if (this.read === 0 || !this.text.slice(0, this.read).trim()) this.isList = LIST_ITEM.test(line)
    this.open(line, next)
    this.read = next
  }

  private lineOfCode(line: string, next: number, blocks: Block[]): void {
    this.read = next
    const closing = FENCE.exec(line)
    if (!closing?.[1]?.startsWith(this.fence) || closing[2]?.trim()) return
    this.fence = ''
    this.codeAt = -1
    if (!this.isList) this.cut(next, blocks)
  }

  /** Whether the block ends before this line. */
  private endsBefore(line: string): boolean {
    const before = this.text.slice(0, this.read)
    if (!before.trim()) return false
    if (!this.isList && FENCE.test(line)) return true
    if (before.length > LONG && !(this.isList && INDENTED.test(line)) && !TABLE_ROW.test(line)) return true
    if (before.length > 4 * LONG) return true
    if (!this.hasBlank) return false
    return !(this.isList && (INDENTED.test(line) || LIST_ITEM.test(line)))
  }

  /** Note what the line opens: a fence or a formula. */
  private open(line: string, next: number): void {
    const fence = FENCE.exec(this.isList ? line.trimStart() : line)
    const bare = line.trim()
    if (fence?.[1] && !(fence[1].startsWith('`') && fence[2]?.includes('`'))) {
      this.fence = fence[1]
      this.info = (fence[2] ?? '').trim()
      if (!this.isList) this.codeAt = next
    } else if (bare.startsWith('$$') && !bare.slice(2).includes('$$')) {
      this.mathEnd = '$$'
    } else if (bare.startsWith('\\[') && !bare.includes('\\]')) {
      this.mathEnd = '\\]'
    }
  }

  /** After a blank line, a line without an end begins a block already. In a list that depends on the line. */
  private cutBeforeOpenLine(blocks: Block[]): void {
    if (this.fence || this.mathEnd || this.isList || !this.hasBlank) return
    if (this.text.slice(0, this.read).trim() && this.text.slice(this.read).trim()) this.cut(this.read, blocks)
  }

  /** A line without an end gets one at a space. */
  private cutLongLine(blocks: Block[]): void {
    while (!this.fence && this.text.length - this.read > 2 * LONG) {
      const space = this.text.lastIndexOf(' ', this.read + LONG)
      this.cut(space > this.read ? space + 1 : this.read + LONG, blocks)
    }
  }

  private cut(at: number, blocks: Block[]): void {
    const block = this.text.slice(0, at)
    if (block.trim()) blocks.push(block)
    this.begin(this.text.slice(at))
  }

  private begin(text: string): void {
    this.text = text
    this.read = 0
    this.fence = ''
    this.codeAt = this.rowsAt = -1
    this.info = ''
    this.mathEnd = ''
    this.isList = false
    this.hasBlank = false
  }
}
