// The models of this server: what is loaded, what it takes, and how to get more.
import '../room/room.css'
import { texts } from '../texts'
import { connection, retry, room, useRoom } from '../room/stream'
import { Refused } from '../room/Refused'
import type { RoomState } from '../room/types'
import { bytes } from '../room/format'
import { Downloads } from './Downloads'
import { fitOf, isIn, takenBy } from './fit'
import { ModelRow } from './ModelRow'
import { Pull } from './Pull'

const words = texts.models

export default function ModelsView() {
  useRoom()
  const state = room.value
  const link = connection.value
  return (
    <main class="page-view room">
      <header class="room-head">
        <div>
          <h1>{texts.views.models}</h1>
          <p class="quiet">{words.help}</p>
        </div>
      </header>
      {link.state === 'lost' && (
        <p class="notice notice-warn room-notice" role="alert">
          {texts.room.lost}
          <button class="button button-small" onClick={retry}>
            {texts.room.again}
          </button>
        </p>
      )}
      {link.state === 'refused' && <Refused status={link.status} message={link.message} />}
      {link.state === 'connecting' && !state && <div class="loading" role="status" aria-label={texts.frame.loading} />}
      {state && <Models state={state} />}
    </main>
  )
}

function Models({ state }: { state: RoomState }) {
  const { models, downloads, server } = state
  return (
    <div class="models-stack">
      {models.length === 0 ? (
        <div class="empty">
          <h2>{words.empty}</h2>
          <p>{words.emptyHelp}</p>
        </div>
      ) : (
        <ul class="models-list">
          {models.map((model) => (
            <ModelRow
              key={model.name}
              model={model}
              engine={state.engines[model.name]}
              isOnly={server.has_one_model}
              fit={isIn(model) ? 'unknown' : fitOf(model, models, server.memory_bytes)}
            />
          ))}
        </ul>
      )}
      {!server.has_one_model && models.length > 0 && (
        <p class="quiet numbers">{words.taken(bytes(takenBy(models)), bytes(server.memory_bytes))}</p>
      )}
      {server.has_one_model && <p class="quiet">{words.one}</p>}
      <Downloads downloads={downloads} />
      {!server.has_one_model && <Pull />}
    </div>
  )
}
