// The rail: the way from view to view. On narrow screens it lies at the bottom.
import { Icon, type IconName } from '../parts/Icon'
import { VIEWS, hashOf, type View } from './router'
import { texts } from '../texts'

const ICONS: Record<View, IconName> = { chat: 'chat', room: 'room', models: 'models', settings: 'settings' }

export function Rail({ view }: { view: View }) {
  return (
    <nav class="rail" aria-label={texts.frame.navigation}>
      <span class="rail-mark" aria-hidden="true">
        <Icon name="mark" size={28} />
      </span>
      {VIEWS.map((name) => (
        <a
          key={name}
          class="rail-link"
          href={hashOf(name)}
          aria-current={name === view ? 'page' : undefined}
          data-view={name}
        >
          <Icon name={ICONS[name]} size={20} />
          <span>{texts.rail[name]}</span>
        </a>
      ))}
    </nav>
  )
}
