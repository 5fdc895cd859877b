// Markdown as a component; its buttons copy code.
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import { copyText } from '../parts/copy'
import { texts } from '../texts'
import { MarkdownView } from './view'

export function Markdown({ text, isLive = false }: { text: string; isLive?: boolean }) {
  const ref = useRef<HTMLDivElement>(null)
  const view = useRef<MarkdownView | null>(null)
  useLayoutEffect(() => {
    if (!ref.current) return
    view.current ??= new MarkdownView(ref.current)
    view.current.show(text, isLive)
  }, [text, isLive])
  useEffect(() => () => view.current?.close(), [])
  return <div ref={ref} class="markdown" dir="auto" onClick={(event) => void copyCode(event)} />
}

async function copyCode(event: MouseEvent): Promise<void> {
  const button = event.target instanceof Element ? event.target.closest<HTMLElement>('.code-copy') : null
  const code = button?.closest('figure')?.querySelector('code')
  if (!button || !code || !(await copyText(code.textContent ?? ''))) return
  button.textContent = texts.common.copied
  setTimeout(() => (button.textContent = texts.common.copy), 1600)
}
