// The settings of the page.
import { texts } from '../texts'

export default function SettingsView() {
  return (
    <main class="page-view">
      <h1>{texts.views.settings}</h1>
    </main>
  )
}
