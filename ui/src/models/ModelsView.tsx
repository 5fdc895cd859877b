// The models of this server.
import { texts } from '../texts'

export default function ModelsView() {
  return (
    <main class="page-view">
      <h1>{texts.views.models}</h1>
    </main>
  )
}
