// The last gate before HTML enters the page: DOMPurify, with the few elements that Markdown needs.
import DOMPurify from 'dompurify'

const TAGS = [
  ...['a', 'blockquote', 'br', 'button', 'code', 'del', 'div', 'em', 'figcaption', 'figure', 'h1', 'h2', 'h3', 'h4'],
  ...['h5', 'h6', 'hr', 'li', 'ol', 'p', 'pre', 's', 'span', 'strong', 'sub', 'sup', 'table', 'tbody', 'td', 'th'],
  ...['thead', 'tr', 'ul'],
]
const ATTRIBUTES = ['href', 'title', 'class', 'start', 'type', 'tabindex', 'aria-label', 'data-tex', 'data-language', 'align']

const purify = typeof window === 'undefined' ? null : DOMPurify(window)

purify?.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return
  node.setAttribute('target', '_blank')
  node.setAttribute('rel', 'noopener noreferrer nofollow')
})

/** The HTML as nodes, without anything that could run, load or lead elsewhere unasked. */
export function clean(html: string): DocumentFragment {
  if (!purify) throw new Error('there is no document')
  return purify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => name !== 'href'),
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  })
}
