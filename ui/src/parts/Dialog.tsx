// A dialog above the page: the browser's own, which keeps the focus inside and closes on Escape.
import type { ComponentChildren } from 'preact'
import { useId, useLayoutEffect, useRef } from 'preact/hooks'
import { Icon } from './Icon'
import { texts } from '../texts'

interface Props {
  readonly title: string
  readonly isOpen: boolean
  readonly onClose: () => void
  readonly children: ComponentChildren
  readonly width?: 'narrow' | 'wide'
}

export function Dialog({ title, isOpen, onClose, children, width = 'narrow' }: Props) {
  const ref = useRef<HTMLDialogElement>(null)
  const id = useId()
  /** The event of a closing comes late: perhaps when the dialog is open for its next question. */
  const isOwnClosing = useRef(false)
  useLayoutEffect(() => {
    const dialog = ref.current
    if (!dialog) return
    if (isOpen && !dialog.open) dialog.showModal()
    if (!isOpen && dialog.open) {
      isOwnClosing.current = true
      dialog.close()
    }
  }, [isOpen])
  return (
    <dialog
      ref={ref}
      class={`dialog dialog-${width}`}
      aria-labelledby={id}
      onClose={() => {
        if (!isOwnClosing.current) onClose()
        isOwnClosing.current = false
      }}
      onClick={(event) => event.target === ref.current && onClose()}
    >
      {isOpen && (
        <div class="dialog-body">
          <header class="dialog-head">
            <h2 id={id}>{title}</h2>
            <button class="icon-button" aria-label={texts.common.close} onClick={onClose}>
              <Icon name="close" />
            </button>
          </header>
          {children}
        </div>
      )}
    </dialog>
  )
}
