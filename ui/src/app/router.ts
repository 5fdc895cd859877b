// The views and their addresses: the part after `#` in the page's address.
import { computed, signal } from '@preact/signals'

export const VIEWS = ['chat', 'room', 'models', 'settings'] as const
export type View = (typeof VIEWS)[number]

export interface Route {
  readonly view: View
  /** What the view shows, such as the id of a conversation; "" is the view's own beginning. */
  readonly item: string
}

/** The route of an address's hash. What is no view leads to the chat. */
export function parseRoute(hash: string): Route {
  const [name = '', item = ''] = hash.replace(/^#\/?/, '').split('/')
  const view = VIEWS.find((known) => known === name)
  return view ? { view, item: safeDecoded(item) } : { view: 'chat', item: '' }
}

/** The hash that leads to a view, for links. */
export function hashOf(view: View, item = ''): string {
  return item ? `#/${view}/${encodeURIComponent(item)}` : `#/${view}`
}

function safeDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

const hash = signal(typeof location === 'undefined' ? '' : location.hash)
if (typeof addEventListener !== 'undefined') {
  addEventListener('hashchange', () => (hash.value = location.hash))
}

/** Where the user is. */
export const route = computed(() => parseRoute(hash.value))

/** Go to a view. `replace` leaves no step in the browser's history. */
export function go(view: View, item = '', { replace = false } = {}): void {
  const target = hashOf(view, item)
  if (replace) history.replaceState(null, '', target)
  else history.pushState(null, '', target)
  hash.value = target
}
