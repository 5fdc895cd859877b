// The slots as lanes: who is there, how far the prompt and the answer are, and where cells came from.
import { useState } from 'preact/hooks'
import { texts } from '../texts'
import { Bar } from './Bar'
import { count, speed } from './format'
import { Legend, Section } from './Section'
import { Sight, useBox } from './Sight'
import type { EngineView, SlotView } from './types'
import { sourceText } from './words'

const words = texts.room.slots

/** With more slots than this, idle ones are left out at first. */
const MANY = 12

export function Slots({ engine }: { engine: EngineView }) {
  const [showsAll, setShowsAll] = useState(false)
  const { slots } = engine.facts
  const hasMany = engine.slots.length > MANY
  const busy = engine.slots.filter((slot) => slot.state !== 'idle')
  const shown = !hasMany || showsAll ? engine.slots : busy.length ? busy : engine.slots.slice(0, 4)
  const capacity = engine.facts.slot_context
  return (
    <Section title={words.title} aside={words.of(slots, count(capacity))} class="room-slots">
      <Legend
        entries={[
          ['cached', words.legend.cached],
          ['computed', words.legend.computed],
          ['due', words.legend.due],
          ['answer', words.legend.answer],
          ['kept', words.legend.kept],
        ]}
      />
      <ol class={shown.length > 4 ? 'lanes lanes-many' : 'lanes'}>
        {shown.map((slot) => (
          <Sight key={slot.id} isSteady>
            <Lane slot={slot} capacity={capacity} />
          </Sight>
        ))}
      </ol>
      {hasMany && (
        <button class="button button-small" onClick={() => setShowsAll(!showsAll)}>
          {showsAll ? words.showLess : words.showAll(slots)}
        </button>
      )}
    </Section>
  )
}

function Lane({ slot, capacity }: { slot: SlotView; capacity: number }) {
  const isIdle = slot.state === 'idle'
  const box = useBox()
  return (
    <li ref={box} class={`lane lane-${slot.state}`}>
      <div class="lane-head">
        <span class="lane-id numbers" aria-label={words.slot(slot.id)}>
          {slot.id}
        </span>
        <span class="lane-who">{isIdle ? <span class="quiet">{words.states.idle}</span> : <Who slot={slot} />}</span>
        {!isIdle && <span class={`chip chip-${slot.state}`}>{words.states[slot.state]}</span>}
        <span class="lane-speed numbers">{!isIdle && words.speed(speed(slot.tokens_per_second))}</span>
      </div>
      <SlotBar slot={slot} capacity={capacity} />
      <p class="lane-note">{noteOf(slot)}</p>
    </li>
  )
}

function Who({ slot }: { slot: SlotView }) {
  return (
    <>
      <strong>{slot.key ?? words.anonymous}</strong>{' '}
      {slot.request !== null && <span class="quiet numbers">{words.request(slot.request)}</span>}
    </>
  )
}

function SlotBar({ slot, capacity }: { slot: SlotView; capacity: number }) {
  if (slot.state === 'idle') {
    const label = slot.cells ? words.kept(count(slot.cells)) : words.empty
    return <Bar parts={[{ kind: 'kept', amount: slot.cells }]} whole={capacity} label={label} />
  }
  const cached = Math.min(slot.cached_tokens, slot.prompt_tokens)
  const computed = Math.max(slot.computed_tokens - cached, 0)
  const parts = [
    { kind: 'cached', amount: cached },
    { kind: 'computed', amount: computed },
    { kind: 'due', amount: Math.max(slot.prompt_tokens - cached - computed, 0) },
    { kind: 'answer', amount: slot.answer_tokens },
  ]
  return <Bar parts={parts} whole={capacity} label={words.bar(cached, computed, slot.answer_tokens, capacity)} />
}

function noteOf(slot: SlotView): string {
  if (slot.state === 'idle') return slot.cells ? words.kept(count(slot.cells)) : words.empty
  const from = slot.cache ? sourceText(slot.cache, slot.prompt_tokens) : ''
  const done =
    slot.state === 'prompt'
      ? words.promptOf(count(slot.computed_tokens), count(slot.prompt_tokens))
      : words.answerTokens(slot.answer_tokens)
  return from ? `${done} · ${from}` : done
}
