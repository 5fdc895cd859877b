// A growing Markdown text on the screen. Blocks that have ended are drawn once.
import { BlockSplitter, type Tail } from './blocks'
import { clean } from './clean'
import { codeFigure, renderMarkdown } from './render'

/** Blocks in one part of the text; parts out of sight are not laid out. */
const PART_BLOCKS = 24
const MOST_HIGHLIGHTED_CHARS = 20_000
const MOST_FORMULA_CHARS = 4_000
const MOST_DRAWN = 400

export class MarkdownView {
  private text = ''
  private splitter = new BlockSplitter()
  private part: HTMLElement | null = null
  private tail: HTMLElement | null = null
  /** The text node of an open fence, and how much of the tail it shows. */
  private code: { node: Text; shown: number } | null = null

  constructor(private readonly root: HTMLElement) {}

  /** Show the text. `isLive` says that more may follow. */
  show(text: string, isLive: boolean): void {
    if (!text.startsWith(this.text)) this.reset()
    const piece = text.slice(this.text.length)
    this.text = text
    for (const block of this.splitter.append(piece)) this.settle(block)
    if (isLive) {
      this.drawTail(this.splitter.tail)
    } else {
      for (const block of this.splitter.finish()) this.settle(block)
      this.tail?.remove()
      this.tail = null
      // A text that grows after its end, by a continuation, is split anew.
      this.text = '\0'
    }
  }

  private reset(): void {
    this.text = ''
    this.splitter = new BlockSplitter()
    this.part = this.tail = this.code = null
    this.root.replaceChildren()
  }

  private settle(source: string): void {
    const element = this.tail ?? this.newBlock()
    element.replaceChildren(clean(renderMarkdown(source)))
    this.tail = this.code = null
    finishBlock(element)
  }

  private drawTail(tail: Tail): void {
    if (!tail.text.trim()) return
    this.tail ??= this.newBlock()
    if (tail.codeAt < 0) {
      this.code = null
      this.tail.replaceChildren(clean(renderMarkdown(tail.text)))
      drawFormulas(this.tail)
      return
    }
    this.code ??= this.beginCode(this.tail, tail)
    this.code.node.appendData(tail.text.slice(this.code.shown))
    this.code.shown = tail.text.length
  }

  private beginCode(element: HTMLElement, tail: Tail): { node: Text; shown: number } {
    element.replaceChildren(clean(codeFigure('', tail.info)))
    const node = document.createTextNode('')
    element.querySelector('code')?.append(node)
    return { node, shown: tail.codeAt }
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

function finishBlock(element: HTMLElement): void {
  drawFormulas(element)
  for (const code of element.querySelectorAll<HTMLElement>('code[data-language]')) void highlight(code)
}

async function highlight(code: HTMLElement): Promise<void> {
  const language = code.dataset.language ?? ''
  const text = code.textContent ?? ''
  if (!language || text.length > MOST_HIGHLIGHTED_CHARS) return
  try {
    const { highlighted } = await import('./highlight')
    const html = highlighted(text, language)
    if (html !== null) code.replaceChildren(clean(html))
  } catch {
    // Code without colours is still code: the server may be away.
  }
}

type Draw = typeof import('./formulas').drawFormula
let drawFormula: Draw | null = null
/** Drawn formulas, because a paragraph that grows is drawn again and again. */
const drawn = new Map<string, Element[]>()

function drawFormulas(element: HTMLElement): void {
  const formulas = element.querySelectorAll<HTMLElement>('.formula[data-tex]')
  if (!formulas.length) return
  if (drawFormula) {
    for (const formula of formulas) drawOne(formula, drawFormula)
    return
  }
  void import('./formulas').then(
    (module) => {
      drawFormula = module.drawFormula
      for (const formula of formulas) drawOne(formula, drawFormula)
    },
    () => undefined, // TeX is readable too
  )
}

function drawOne(formula: HTMLElement, draw: Draw): void {
  const tex = formula.dataset.tex ?? ''
  if (tex.length > MOST_FORMULA_CHARS) return
  const isBlock = formula.classList.contains('formula-block')
  const name = `${isBlock ? 'b' : 'i'}${tex}`
  const known = drawn.get(name)
  if (known) {
    formula.replaceChildren(...known.map((node) => node.cloneNode(true)))
    return
  }
  draw(tex, isBlock, formula)
  if (drawn.size >= MOST_DRAWN) drawn.clear()
  drawn.set(name, [...formula.children].map((node) => node.cloneNode(true) as Element))
}
