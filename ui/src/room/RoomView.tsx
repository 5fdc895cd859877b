// The machine room: the scheduler at work.
import { texts } from '../texts'

export default function RoomView() {
  return (
    <main class="page-view">
      <h1>{texts.views.room}</h1>
    </main>
  )
}
