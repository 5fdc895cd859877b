// The machine room: the scheduler at work.
import './room.css'
import { useEffect, useRef, useState } from 'preact/hooks'
import { hashOf } from '../app/router'
import { texts } from '../texts'
import { Figures } from './Figures'
import type { Point } from './history'
import { Keys } from './Keys'
import { Memory } from './Memory'
import { Prefixes } from './Prefixes'
import { Queue } from './Queue'
import { Refused } from './Refused'
import { Requests } from './Requests'
import { Sight } from './Sight'
import { Slots } from './Slots'
import { Speculation } from './Speculation'
import { Steps } from './Steps'
import { connection, retry, room, stepHistory, useRoom, type Connection } from './stream'
import type { EngineView, RoomState } from './types'

/** What is shown: the state, and the steps up to then. */
interface Moment {
  readonly state: RoomState
  readonly points: ReadonlyMap<string, readonly Point[]>
}

function momentOf(state: RoomState | null): Moment | null {
  return state && { state, points: stepHistory.all }
}

export default function RoomView() {
  useRoom()
  const [held, setHeld] = useState<Moment | null>(null)
  const shown = held ?? momentOf(room.value)
  const link = connection.value
  return (
    <main class="page-view room">
      <header class="room-head">
        <div>
          <h1>{texts.views.room}</h1>
          <p class="quiet">{texts.room.help}</p>
        </div>
        <div class="room-state">
          <State link={link} isPaused={held !== null} />
          {(held || link.state === 'live') && (
            <button class="button button-small" onClick={() => setHeld(held ? null : shown)}>
              {held ? texts.room.resume : texts.room.pause}
            </button>
          )}
        </div>
      </header>
      {link.state === 'refused' ? <Refused status={link.status} message={link.message} /> : <Content shown={shown} link={link} isPaused={held !== null} />}
    </main>
  )
}

function State({ link, isPaused }: { link: Connection; isPaused: boolean }) {
  const kind = isPaused ? 'paused' : link.state
  const words = { paused: texts.room.paused, live: texts.room.live, connecting: texts.room.connecting }
  return (
    <span class={`room-dot room-dot-${kind}`} role="status">
      {kind in words ? words[kind as keyof typeof words] : ''}
    </span>
  )
}

interface ContentProps {
  readonly shown: Moment | null
  readonly link: Connection
  readonly isPaused: boolean
}

function Content({ shown, link, isPaused }: ContentProps) {
  return (
    <>
      {link.state === 'lost' && (
        <p class="notice notice-warn room-notice" role="alert">
          {texts.room.lost}
          <button class="button button-small" onClick={retry}>
            {texts.room.again}
          </button>
        </p>
      )}
      {!shown && link.state === 'connecting' && <div class="loading" role="status" aria-label={texts.frame.loading} />}
      {shown && <Engines moment={shown} isStale={link.state === 'lost'} isPaused={isPaused} />}
    </>
  )
}

interface EnginesProps {
  readonly moment: Moment
  readonly isStale: boolean
  readonly isPaused: boolean
}

function Engines({ moment, isStale, isPaused }: EnginesProps) {
  const { state, points } = moment
  const names = Object.keys(state.engines)
  const [chosen, setChosen] = useState('')
  const name = names.includes(chosen) ? chosen : names[0]
  const engine = name === undefined ? undefined : state.engines[name]
  if (name === undefined || !engine) return <NoEngine />
  return (
    <div class={isStale ? 'room-content room-stale' : 'room-content'}>
      {names.length > 1 && (
        <fieldset class="segments room-engines">
          <legend class="visually-hidden">{texts.room.engine}</legend>
          {names.map((one) => (
            <label key={one}>
              <input type="radio" name="engine" checked={one === name} onChange={() => setChosen(one)} />
              <span>{one}</span>
            </label>
          ))}
        </fieldset>
      )}
      <Condition engine={engine} />
      <Engine engine={engine} points={points.get(name) ?? []} state={state} isHeld={isPaused || isStale} />
    </div>
  )
}

/** What is not as it should be. */
function Condition({ engine }: { engine: EngineView }) {
  const { state, message, deaths } = engine.facts
  const words = { loading: texts.room.loading, restarting: texts.room.restarting, down: texts.room.down(message) }
  if (state !== 'ready') {
    return (
      <p class={`notice ${state === 'down' ? 'notice-error' : 'notice-warn'}`} role="status">
        {words[state]}
      </p>
    )
  }
  return deaths ? <p class="notice notice-warn">{texts.room.deaths(deaths)}</p> : null
}

interface EngineProps {
  readonly engine: EngineView
  readonly points: readonly Point[]
  readonly state: RoomState
  /** Whether time stands still. */
  readonly isHeld: boolean
}

function Engine({ engine, points, state, isHeld }: EngineProps) {
  const serverNow = useNow(state)
  const now = isHeld ? state.time : serverNow
  return (
    <>
      <Sight>
        <Figures engine={engine} points={points} now={now} />
      </Sight>
      <div class="room-grid">
        <Sight>
          <Slots engine={engine} />
        </Sight>
        <div class="room-column">
          <Sight>
            <Queue queue={engine.queue} now={now} />
          </Sight>
          <Sight>
            <Memory engine={engine} />
          </Sight>
        </div>
        <Sight>
          <Prefixes engine={engine} showsTexts={state.server.shows_texts} />
        </Sight>
        <Sight>
          <Steps points={points} now={now} />
        </Sight>
        <div class="room-column">
          <Sight>
            <Speculation speculation={engine.speculation} />
          </Sight>
          <Sight>
            <Keys keys={engine.keys} />
          </Sight>
        </div>
        <Sight>
          <Requests requests={engine.requests} now={now} />
        </Sight>
      </div>
    </>
  )
}

/** Seconds of silence after which time is drawn on its own. */
const SILENCE = 3

/** The server's time, which goes on between two updates: a server at rest sends none. */
function useNow(state: RoomState): number {
  const [, setTurn] = useState(0)
  const seen = useRef({ state, at: Date.now() / 1000 })
  if (seen.current.state !== state) seen.current = { state, at: Date.now() / 1000 }
  const silence = (): number => Date.now() / 1000 - seen.current.at
  useEffect(() => {
    const timer = setInterval(() => {
      if (silence() >= SILENCE) setTurn((turn) => turn + 1)
    }, 1000)
    return () => clearInterval(timer)
  }, [])
  return state.time + Math.max(silence(), 0)
}

function NoEngine() {
  return (
    <div class="empty">
      <h2>{texts.room.noEngine}</h2>
      <p>{texts.room.noEngineHelp}</p>
      <a class="button" href={hashOf('models')}>
        {texts.room.toModels}
      </a>
    </div>
  )
}
