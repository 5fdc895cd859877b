// The frame of the page: the rail of views, the view, and what lies above all views.
import { lazy, Suspense } from './lazy'
import { Rail } from './Rail'
import { KeyDialog } from './KeyDialog'
import { ShortcutsDialog, useFrameKeys } from './Shortcuts'
import { Toasts } from '../parts/Toasts'
import { followTheme } from './theme'
import { route, type View } from './router'
import { ChatView } from '../chat/ChatView'
import { useEffect } from 'preact/hooks'
import { texts } from '../texts'

const LAZY = {
  room: lazy(() => import('../room/RoomView')),
  models: lazy(() => import('../models/ModelsView')),
  settings: lazy(() => import('../settings/SettingsView')),
}

followTheme()

export function App() {
  const view = route.value.view
  useFrameKeys()
  useEffect(() => {
    document.title = view === 'chat' ? texts.brand : `${texts.views[view]} · ${texts.brand}`
  }, [view])
  return (
    <div class="frame">
      <a class="skip-link" href="#content" onClick={skip}>
        {texts.frame.skip}
      </a>
      <Rail view={view} />
      <div class="frame-view" id="content" tabIndex={-1}>
        <Shown view={view} />
      </div>
      <KeyDialog />
      <ShortcutsDialog />
      <Toasts />
    </div>
  )
}

function Shown({ view }: { view: View }) {
  if (view === 'chat') return <ChatView />
  const Lazy = LAZY[view]
  return (
    <Suspense>
      <Lazy />
    </Suspense>
  )
}

/** A link to `#content` would leave the view, whose address is the hash. */
function skip(event: Event): void {
  event.preventDefault()
  document.getElementById('content')?.focus()
}
