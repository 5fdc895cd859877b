// Formulas in Markdown: $a$, $$a$$, \(a\) and \[a\]. They are found here, and drawn by KaTeX later.
import type { MarkdownIt } from 'markdown-it'

interface Delimiters {
  readonly open: string
  readonly close: string
  readonly isBlock: boolean
}

const INLINE: readonly Delimiters[] = [
  { open: '$$', close: '$$', isBlock: true },
  { open: '\\[', close: '\\]', isBlock: true },
  { open: '\\(', close: '\\)', isBlock: false },
  { open: '$', close: '$', isBlock: false },
]

/** A formula that begins at `at`: its text and where it ends. A `$` alone is often a price. */
export function formulaAt(text: string, at: number): { tex: string; end: number; isBlock: boolean } | null {
  const found = INLINE.find(({ open }) => text.startsWith(open, at))
  if (!found) return null
  const { open, close, isBlock } = found
  const start = at + open.length
  for (let end = text.indexOf(close, start); end >= 0; end = text.indexOf(close, end + 1)) {
    if (close.startsWith('$') && text[end - 1] === '\\') continue
    const tex = text.slice(start, end)
    if (open === '$' && !isFormula(tex, text[end + 1] ?? '')) return null
    return tex.trim() ? { tex: tex.trim(), end: end + close.length, isBlock } : null
  }
  return null
}

function isFormula(tex: string, after: string): boolean {
  return tex !== '' && !/^\s|\s$/.test(tex) && !/\d/.test(after) && !tex.includes('\n\n')
}

export function mathPlugin(md: MarkdownIt): void {
  md.inline.ruler.before('escape', 'formula', (state, silent) => {
    const char = state.src[state.pos]
    if (char !== '$' && char !== '\\') return false
    const formula = formulaAt(state.src, state.pos)
    if (!formula) return false
    if (!silent) {
      const token = state.push('formula', '', 0)
      token.content = formula.tex
      token.block = formula.isBlock
    }
    state.pos = formula.end
    return true
  })
  md.block.ruler.before('fence', 'formula_block', (state, line, endLine, silent) => {
    const start = (state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0)
    if (!/^(?:\$\$|\\\[)/.test(state.src.slice(start, start + 2))) return false
    const formula = formulaAt(state.src.slice(0, state.eMarks[endLine - 1]), start)
    if (!formula) return false
    const last = lineOf(state.eMarks, formula.end, line, endLine)
    if (state.src.slice(formula.end, state.eMarks[last]).trim()) return false
    if (silent) return true
    const token = state.push('formula', '', 0)
    token.content = formula.tex
    token.block = true
    state.line = last + 1
    return true
  })
  md.renderer.rules.formula = (tokens, index) => {
    const token = tokens[index]
    const tex = md.utils.escapeHtml(token?.content ?? '')
    const kind = token?.block ? 'formula formula-block' : 'formula'
    return `<span class="${kind}" data-tex="${tex}">${tex}</span>`
  }
}

/** The line in which a position lies. */
function lineOf(ends: readonly number[], position: number, line: number, endLine: number): number {
  let found = line
  while (found < endLine - 1 && (ends[found] ?? 0) < position) found++
  return found
}
