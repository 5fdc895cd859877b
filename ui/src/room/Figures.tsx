// The figures at the top of the machine room.
import { texts } from '../texts'
import { count, percent, short, speed } from './format'
import { rates, type Point } from './history'
import { useBox } from './Sight'
import type { EngineView } from './types'

interface Props {
  readonly engine: EngineView
  readonly points: readonly Point[]
  readonly now: number
}

export function Figures({ engine, points, now }: Props) {
  const words = texts.room.figures
  const { prompt, answer } = rates(points, now)
  const busy = engine.slots.filter((slot) => slot.state !== 'idle').length
  const all = sum(engine, (key) => key.prompt_tokens)
  const cached = sum(engine, (key) => key.cached_tokens)
  const box = useBox()
  return (
    <dl ref={box} class="room-figures" aria-label={words.label}>
      <Figure name={words.answer} value={speed(answer)} />
      <Figure name={words.prompt} value={speed(prompt)} />
      <Figure name={words.running} value={String(busy)} rest={words.of(String(engine.facts.slots))} />
      <Figure name={words.waiting} value={count(engine.queue.waiting)} />
      <Figure name={words.cached} value={`${percent(cached, all)} %`} rest={words.of(short(all))} />
    </dl>
  )
}

function Figure({ name, value, rest = '' }: { name: string; value: string; rest?: string }) {
  return (
    <div class="room-figure">
      <dt>{name}</dt>
      <dd class="numbers">
        {value} {rest && <small>{rest}</small>}
      </dd>
    </div>
  )
}

function sum(engine: EngineView, of: (key: EngineView['keys'][number]) => number): number {
  return engine.keys.reduce((total, key) => total + of(key), 0)
}
