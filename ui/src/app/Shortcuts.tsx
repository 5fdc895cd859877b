// The keys of the page: what each does, and the dialog that lists them.
import { signal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { Dialog } from '../parts/Dialog'
import { texts } from '../texts'
import { VIEWS, go } from './router'

export const isHelpOpen = signal(false)

const isMac = typeof navigator !== 'undefined' && /Mac|iP(hone|ad)/.test(navigator.platform)
const MAIN = isMac ? '⌘' : 'Ctrl'

const KEYS: ReadonlyArray<readonly [keys: string, what: string]> = [
  [`${MAIN} K`, texts.keys.search],
  [`${MAIN} Shift O`, texts.keys.newChat],
  [`${MAIN} B`, texts.keys.list],
  [`${MAIN} ,`, texts.keys.chatSettings],
  ['/', texts.keys.write],
  ['Enter', texts.keys.send],
  ['Shift Enter', texts.keys.newLine],
  ['↑', texts.keys.editLast],
  ['Esc', texts.keys.stop],
  ['Alt 1 … 4', texts.keys.views],
  ['?', texts.keys.help],
]

export function ShortcutsDialog() {
  return (
    <Dialog title={texts.keys.title} isOpen={isHelpOpen.value} onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(' ').map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  )
}

/** The keys that work in every view. */
export function useFrameKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (document.querySelector('dialog[open]') || event.ctrlKey || event.metaKey) return
      const view = event.altKey ? VIEWS[Number(/^Digit(\d)$/.exec(event.code)?.[1]) - 1] : undefined
      const isWriting = event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)
      if (view) go(view)
      else if (event.key === '?' && !isWriting && !event.altKey) isHelpOpen.value = true
      else return
      event.preventDefault()
    }
    document.addEventListener('keydown', onKey)
    return () => document.removeEventListener('keydown', onKey)
  }, [])
}
