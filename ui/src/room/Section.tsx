// A card of the machine room, with its heading.
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import { useBox } from './Sight'

interface Props {
  readonly title: string
  /** Beside the title. */
  readonly aside?: ComponentChildren
  readonly class?: string
  readonly children: ComponentChildren
}

export function Section({ title, aside, children, class: name = '' }: Props) {
  const id = useId()
  const box = useBox()
  return (
    <section ref={box} class={`card room-card ${name}`} aria-labelledby={id}>
      <header class="room-card-head">
        <h2 id={id}>{title}</h2>
        {aside && <div class="room-aside">{aside}</div>}
      </header>
      {children}
    </section>
  )
}

/** What the colours of a picture mean. */
export function Legend({ entries }: { entries: ReadonlyArray<readonly [kind: string, label: string]> }) {
  return (
    <ul class="room-legend">
      {entries.map(([kind, label]) => (
        <li key={kind}>
          <span class={`room-key fill-${kind}`} aria-hidden="true" />
          {label}
        </li>
      ))}
    </ul>
  )
}
