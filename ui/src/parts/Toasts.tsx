// Short notices at the edge of the page, read out by screen readers.
import { signal } from '@preact/signals'

interface Toast {
  readonly id: number
  readonly text: string
  readonly kind: 'plain' | 'error'
}

const shown = signal<readonly Toast[]>([])
const SECONDS = { plain: 3, error: 8 }
let next = 0

/** Show a notice for some seconds. */
export function notify(text: string, kind: Toast['kind'] = 'plain'): void {
  const toast = { id: next++, text, kind }
  shown.value = [...shown.value.slice(-2), toast]
  setTimeout(() => (shown.value = shown.value.filter((one) => one !== toast)), SECONDS[kind] * 1000)
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.value.map((toast) => (
        <div key={toast.id} class={`toast toast-${toast.kind}`}>
          {toast.text}
        </div>
      ))}
    </div>
  )
}
