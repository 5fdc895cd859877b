// Draws formulas. Loaded with the first formula.
import katex from 'katex'
import 'katex/dist/katex.min.css'

/** Draw the formula into an element. What is no TeX stays as it is. */
export function drawFormula(tex: string, isBlock: boolean, element: HTMLElement): void {
  katex.render(tex, element, {
    displayMode: isBlock,
    throwOnError: false,
    strict: 'ignore',
    trust: false,
    maxSize: 20,
    maxExpand: 200,
  })
}
