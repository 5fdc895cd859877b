// A growing Markdown text on the screen. Blocks that have ended are drawn once.
import { BlockSplitter, type Block, type Tail } from './blocks'
import { clean } from './clean'
import { finish, unfinishedOf } from './finish'
import { frameQueue, type Drawer, type Outcome } from './frames'
import { codeFigure, renderMarkdown } from './render'

/** Blocks in one part of the text; parts out of sight are not laid out. */
const PART_BLOCKS = 24

/** The open block may take this share of the time: one that is slow to draw is drawn less often. */
const TAIL_SHARE = 0.25

/** Rows of a table, and nothing after it. */
const ROWS = /^(?: {0,3}\|[^\n]*(?:\n|$))*\s*$/

interface OpenTable {
  readonly head: string
  readonly body: Element
  /** Where the rows begin in the tail. */
  readonly rowsAt: number
  /** How much of the tail is drawn. */
  shown: number
}

export class MarkdownView implements Drawer {
  private text = ''
  private isLive = true
  private splitter = new BlockSplitter()
  private part: HTMLElement | null = null
  private tail: HTMLElement | null = null
  /** The text node of an open fence, and how much of the tail it shows. */
  private code: { node: Text; shown: number } | null = null
  /** The open table, if its rows are drawn one by one. */
  private table: OpenTable | null = null
  /** Blocks that have ended and are not drawn yet, the next one last. */
  private blocks: Block[] = []
  /** Elements that lack colours or formulas. */
  private unfinished: HTMLElement[] = []
  /** Whether the open block has changed since it was drawn. */
  private isTailDue = false
  /** The open block is not drawn before. */
  private nextTail = 0
  /** Whether a library is loaded that the next unfinished element wants. */
  private isLoading = false
  private isClosed = false

  constructor(private readonly root: HTMLElement) {}

  /** Show the text, in this frame and the next ones. `isLive` says that more may follow. */
  show(text: string, isLive: boolean): void {
    if (!text.startsWith(this.text)) this.reset()
    const ended = this.splitter.append(text.slice(this.text.length))
    this.text = text
    this.isLive = isLive
    this.isTailDue = true
    this.blocks = [...ended.reverse(), ...this.blocks]
    frameQueue.add(this)
  }

  /** Draw nothing any more. */
  close(): void {
    this.isClosed = true
    frameQueue.remove(this)
  }

  drawPiece(): Outcome {
    const block = this.blocks.pop()
    if (block !== undefined) {
      this.settle(block)
      return 'more'
    }
    const isTailLate = this.isLive && performance.now() < this.nextTail
    if (this.isTailDue && !isTailLate) {
      const begin = performance.now()
      this.isTailDue = false
      this.drawTail(this.splitter.tail)
      this.nextTail = begin + (performance.now() - begin) / TAIL_SHARE
      return 'more'
    }
    if (this.finishOne()) return 'more'
    return this.isTailDue ? 'later' : 'done'
  }

  /** Finish one element of a drawn block. Returns whether there was one that could be. */
  private finishOne(): boolean {
    const element = this.unfinished[0]
    if (!element || this.isLoading) return false
    const outcome = element.isConnected ? finish(element) : true
    if (typeof outcome === 'boolean') {
      if (outcome) this.unfinished.shift()
      return true
    }
    this.isLoading = true
    void outcome.then(() => {
      this.isLoading = false
      if (!this.isClosed) frameQueue.add(this)
    })
    return false
  }

  private reset(): void {
    this.text = ''
    this.splitter = new BlockSplitter()
    this.part = this.tail = this.code = this.table = null
    this.blocks = []
    this.unfinished = []
    this.root.replaceChildren()
  }

  private settle(source: string): void {
    this.tail ??= this.newBlock()
    this.complete(this.tail, source)
    this.tail = this.code = this.table = null
  }

  private drawTail(tail: Tail): void {
    if (!tail.text.trim()) {
      this.tail?.remove()
      this.tail = this.code = this.table = null
      return
    }
    this.tail ??= this.newBlock()
    if (!this.isLive) {
      this.complete(this.tail, tail.text)
      return
    }
    if (tail.rowsAt >= 0 && (this.table || this.beginTable(this.tail, tail))) {
      this.drawRows(tail.text, tail.text.lastIndexOf('\n') + 1)
      return
    }
    if (tail.codeAt < 0) {
      this.drawWhole(this.tail, tail.text)
      // Code gets its colours once, when it is whole.
      this.unfinished = this.unfinished.filter((one) => one.matches('.formula') || !this.tail?.contains(one))
      return
    }
    this.code ??= this.beginCode(this.tail, tail)
    this.code.node.appendData(tail.text.slice(this.code.shown))
    this.code.shown = tail.text.length
  }

  /** Draw a block to which nothing will be added. */
  private complete(element: HTMLElement, source: string): void {
    if (this.table && ROWS.test(source.slice(this.table.rowsAt))) this.drawRows(source, source.length)
    else this.drawWhole(element, source)
  }

  private drawWhole(element: HTMLElement, source: string): void {
    this.code = this.table = null
    element.replaceChildren(clean(renderMarkdown(source)))
    this.unfinished.push(...unfinishedOf(element))
  }

  private beginCode(element: HTMLElement, tail: Tail): { node: Text; shown: number } {
    element.replaceChildren(clean(codeFigure('', tail.info)))
    const node = document.createTextNode('')
    element.querySelector('code')?.append(node)
    return { node, shown: tail.codeAt }
  }

  /** Draw the head of a table. Returns whether it is one. */
  private beginTable(element: HTMLElement, { text, rowsAt }: Tail): boolean {
    const head = text.slice(0, rowsAt)
    this.drawWhole(element, head)
    const body = document.createElement('tbody')
    const table = element.querySelector('table')
    if (!table) return false
    table.append(body)
    this.table = { head, body, rowsAt, shown: rowsAt }
    return true
  }

  /** Draw the rows that have ended since: a long table is not drawn again for each word. */
  private drawRows(text: string, end: number): void {
    if (!this.table || end <= this.table.shown) return
    const { head, body, shown } = this.table
    const drawn = clean(renderMarkdown(head + text.slice(shown, end)))
    const added = [...drawn.querySelectorAll<HTMLElement>('tbody > tr')]
    body.append(...added)
    this.table.shown = end
    for (const row of added) this.unfinished.push(...unfinishedOf(row))
  }

  private newBlock(): HTMLElement {
    if (!this.part || this.part.childElementCount >= PART_BLOCKS) {
      this.part?.classList.add('markdown-part-full')
      this.part = document.createElement('div')
      this.part.className = 'markdown-part'
      this.root.append(this.part)
    }
    const element = document.createElement('div')
    element.className = 'markdown-block'
    this.part.append(element)
    return element
  }
}
