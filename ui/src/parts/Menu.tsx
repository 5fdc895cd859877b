// A button that opens a list of actions. Arrow keys move, Escape closes.
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { Icon, type IconName } from './Icon'

export interface Action {
  readonly label: string
  readonly icon: IconName
  readonly run: () => void
  readonly isDanger?: boolean
}

interface Props {
  readonly label: string
  readonly actions: readonly Action[]
  readonly children: ComponentChildren
}

export function Menu({ label, actions, children }: Props) {
  const [isOpen, setOpen] = useState(false)
  const [goesUp, setGoesUp] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const button = useRef<HTMLButtonElement>(null)
  const close = (): void => {
    setOpen(false)
    button.current?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    root.current?.querySelector<HTMLElement>('[role=menuitem]')?.focus()
    const onPress = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    document.addEventListener('pointerdown', onPress)
    return () => document.removeEventListener('pointerdown', onPress)
  }, [isOpen])
  const toggle = (): void => {
    const below = innerHeight - (button.current?.getBoundingClientRect().bottom ?? 0)
    setGoesUp(below < 44 * actions.length)
    setOpen(!isOpen)
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.stopPropagation()
      close()
      return
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (!step) return
    event.preventDefault()
    const items = [...(root.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])]
    const at = items.indexOf(document.activeElement as HTMLElement)
    items[(at + step + items.length) % items.length]?.focus()
  }
  return (
    <div class="menu" ref={root}>
      <button
        ref={button}
        class="icon-button"
        type="button"
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        onClick={toggle}
      >
        {children}
      </button>
      {isOpen && (
        <div class={goesUp ? 'menu-list menu-list-up' : 'menu-list'} role="menu" aria-label={label} onKeyDown={onKey}>
          {actions.map((action) => (
            <button
              key={action.label}
              type="button"
              role="menuitem"
              class={action.isDanger ? 'menu-danger' : ''}
              onClick={() => {
                close()
                action.run()
              }}
            >
              <Icon name={action.icon} size={16} />
              {action.label}
            </button>
          ))}
        </div>
      )}
    </div>
  )
}
