// The requests that wait for a slot.
import { texts } from '../texts'
import { count, seconds } from './format'
import { Section } from './Section'
import type { EngineView } from './types'

const words = texts.room.queue
const MOST = 6

export function Queue({ queue, now }: { queue: EngineView['queue']; now: number }) {
  const rest = queue.waiting - Math.min(queue.first.length, MOST)
  return (
    <Section title={words.title} aside={words.capacity(count(queue.capacity))}>
      {queue.waiting === 0 ? (
        <p class="quiet">{words.empty}</p>
      ) : (
        <>
          <p class="numbers">{words.waits(queue.waiting, count(queue.waiting_tokens))}</p>
          <ol class="room-waiting">
            {queue.first.slice(0, MOST).map((one) => (
              <li key={one.request}>
                <strong>{one.key ?? texts.room.slots.anonymous}</strong>
                <span class="quiet numbers">
                  {texts.room.slots.request(one.request)}
                  {one.priority ? ` · ${words.priority(one.priority)}` : ''}
                </span>
                <span class="numbers">{words.since(seconds(Math.max(now - one.queued, 0)))}</span>
              </li>
            ))}
          </ol>
          {rest > 0 && <p class="quiet">{words.more(rest)}</p>}
        </>
      )}
      {queue.preemptions > 0 && <p class="quiet room-small">{words.preempted(queue.preemptions)}</p>}
    </Section>
  )
}
