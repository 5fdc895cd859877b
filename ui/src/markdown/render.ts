// Markdown to HTML. Raw HTML stays text, and images stay links: an answer must load nothing.
import MarkdownIt from 'markdown-it'
import { texts } from '../texts'
import { mathPlugin } from './math'

const md = new MarkdownIt({ html: false, linkify: true, typographer: false })
md.use(mathPlugin)
md.linkify.set({ fuzzyEmail: false, fuzzyIP: false })

md.renderer.rules.fence = (tokens, index) => {
  const token = tokens[index]
  return codeFigure(token?.content.replace(/\n$/, '') ?? '', token?.info.trim() ?? '')
}
md.renderer.rules.code_block = (tokens, index) => codeFigure(tokens[index]?.content.replace(/\n$/, '') ?? '', '')

md.renderer.rules.image = (tokens, index) => {
  const token = tokens[index]
  const words = token?.content ? texts.link.image(token.content) : texts.link.unnamedImage
  return `<a href="${md.utils.escapeHtml(String(token?.attrGet('src') ?? ''))}">${md.utils.escapeHtml(words)}</a>`
}

md.renderer.rules.table_open = () => '<div class="table-scroll" tabindex="0"><table>'
md.renderer.rules.table_close = () => '</table></div>'

/** The HTML of Markdown, not yet sanitized. */
export function renderMarkdown(source: string): string {
  return md.render(source)
}

/** The HTML of code with its head: the language, and a button that copies. */
export function codeFigure(code: string, info: string): string {
  const language = /^[\w+#.-]{1,24}/.exec(info)?.[0].toLowerCase() ?? ''
  const escape = md.utils.escapeHtml
  return (
    `<figure class="code"><figcaption><span>${escape(language || texts.code.plain)}</span>` +
    `<button type="button" class="code-copy" aria-label="${escape(texts.code.copy)}">${escape(texts.common.copy)}</button>` +
    `</figcaption><pre tabindex="0"><code data-language="${escape(language)}">${escape(code)}</code></pre></figure>`
  )
}
