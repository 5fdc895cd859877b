// How many draft tokens are accepted.
import { texts } from '../texts'
import { Bar } from './Bar'
import { count, percent } from './format'
import { Section } from './Section'
import type { SpeculationView } from './types'

const words = texts.room.speculation
const MOST_PLACES = 8

export function Speculation({ speculation }: { speculation: SpeculationView }) {
  const { methods, drafts, draft_tokens: drafted, accepted_tokens: accepted } = speculation
  if (!methods.length && !drafts) {
    return (
      <Section title={words.title}>
        <p class="quiet">{words.off}</p>
      </Section>
    )
  }
  return (
    <Section title={words.title} aside={methods.join(', ')}>
      {drafts === 0 ? (
        <p class="quiet">{words.none}</p>
      ) : (
        <>
          <p>
            <strong class="numbers">{words.accepted(percent(accepted, drafted))}</strong>
          </p>
          <p class="quiet room-small numbers">{words.counts(count(accepted), count(drafted), count(drafts))}</p>
          <h3 class="room-small">{words.position}</h3>
          <ol class="room-places">
            {speculation.accepted_by_position.slice(0, MOST_PLACES).map((times, index) => (
              <li key={index}>
                <span class="numbers quiet">{index + 1}</span>
                <Bar
                  parts={[{ kind: 'answer', amount: times }]}
                  whole={drafts}
                  label={words.bar(index + 1, percent(times, drafts))}
                />
                <span class="numbers quiet">{percent(times, drafts)} %</span>
              </li>
            ))}
          </ol>
        </>
      )}
    </Section>
  )
}
