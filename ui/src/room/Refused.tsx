// The server refuses the event stream: what that means, and what would help.
import { askForKey } from '../api/key'
import { Icon } from '../parts/Icon'
import { texts } from '../texts'
import { retry } from './stream'

export function Refused({ status, message }: { status: number; message: string }) {
  const wantsKey = status === 401 || status === 403
  const give = (): void => {
    void askForKey('').then((given) => {
      if (given) retry()
    })
  }
  return (
    <div class="empty room-refused" role="alert">
      <Icon name="warning" size={28} />
      <h2>{texts.room.refusedTitle[status] ?? message}</h2>
      <p>{texts.room.refusedHelp[status] ?? ''}</p>
      <p class="mono room-message">{message}</p>
      <button class={wantsKey ? 'button button-main' : 'button'} onClick={wantsKey ? give : retry}>
        {wantsKey ? texts.room.otherKey : texts.room.again}
      </button>
    </div>
  )
}
