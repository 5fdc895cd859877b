// The chat.
import { texts } from '../texts'

export function ChatView() {
  return (
    <main class="page-view">
      <h1>{texts.views.chat}</h1>
    </main>
  )
}
