// What a drawn block still lacks: the colours of code, and formulas. One element, or a piece of one, at a time.
import { clean } from './clean'
import { piecesOf } from './pieces'

const MOST_HIGHLIGHTED_CHARS = 20_000
const MOST_FORMULA_CHARS = 4_000
const MOST_DRAWN = 400

/** A part of the page that is loaded when it is wanted first. */
class Library<T> {
  value: T | null = null
  isMissing = false
  private loading: Promise<void> | null = null

  constructor(private readonly load: () => Promise<T>) {}

  /** Load the library. It may stay away: code without colours is still code, and TeX is readable too. */
  want(): Promise<void> {
    this.loading ??= this.load().then(
      (value) => void (this.value = value),
      () => void (this.isMissing = true),
    )
    return this.loading
  }
}

const colours = new Library(() => import('./highlight'))
const formulas = new Library(() => import('./formulas'))

/** Drawn formulas, because a paragraph that grows is drawn again and again. */
const drawn = new Map<string, Element[]>()

/** The elements of a block that are not finished yet. Formulas that were drawn before are drawn at once. */
export function unfinishedOf(block: HTMLElement): HTMLElement[] {
  const found = block.querySelectorAll<HTMLElement>('code[data-language], .formula[data-tex]')
  return [...found].filter((element) => !(element.matches('.formula') ? drawKnown(element) : !element.dataset.language))
}

/** Finish a piece of an element. Returns whether that was the last one; a promise if its library has to come first. */
export function finish(element: HTMLElement): Promise<void> | boolean {
  const isFormula = element.matches('.formula')
  const library = isFormula ? formulas : colours
  if (!library.value && !library.isMissing) return library.want()
  if (!isFormula) return highlight(element)
  draw(element)
  return true
}

/** By code, the pieces that have no colours yet. */
const colourless = new WeakMap<HTMLElement, Text[]>()

/** Give colours to the next piece. Returns whether it was the last one. */
function highlight(code: HTMLElement): boolean {
  const pieces = colourless.get(code) ?? cut(code)
  const piece = pieces.shift()
  if (!piece) return true
  const html = colours.value?.highlighted(piece.data, code.dataset.language ?? '') ?? null
  if (html === null) return true
  piece.replaceWith(clean(html))
  return pieces.length === 0
}

function cut(code: HTMLElement): Text[] {
  const text = code.textContent ?? ''
  if (text.length > MOST_HIGHLIGHTED_CHARS) return []
  const pieces = piecesOf(text).map((piece) => document.createTextNode(piece))
  code.replaceChildren(...pieces)
  colourless.set(code, pieces)
  return pieces
}

function nameOf(formula: HTMLElement): string {
  return `${isBlock(formula) ? 'b' : 'i'}${formula.dataset.tex ?? ''}`
}

function isBlock(formula: HTMLElement): boolean {
  return formula.classList.contains('formula-block')
}

function drawKnown(formula: HTMLElement): boolean {
  const known = drawn.get(nameOf(formula))
  if (known) formula.replaceChildren(...known.map((node) => node.cloneNode(true)))
  return known !== undefined
}

function draw(formula: HTMLElement): void {
  const tex = formula.dataset.tex ?? ''
  if (!formulas.value || tex.length > MOST_FORMULA_CHARS || drawKnown(formula)) return
  formulas.value.drawFormula(tex, isBlock(formula), formula)
  if (drawn.size >= MOST_DRAWN) drawn.clear()
  drawn.set(
    nameOf(formula),
    [...formula.children].map((node) => node.cloneNode(true) as Element),
  )
}
