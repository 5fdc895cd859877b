// The last requests: how long each waited, computed its prompt and answered, and what the cache had.
import { useState } from 'preact/hooks'
import { texts } from '../texts'
import { count, seconds, speed } from './format'
import { Legend, Section } from './Section'
import { Sight, useBox } from './Sight'
import { timelineOf } from './timeline'
import type { RequestView } from './types'
import { reasonText, sourceText } from './words'

const words = texts.room.requests
const FEW = 12

export function Requests({ requests, now }: { requests: readonly RequestView[]; now: number }) {
  const [showsAll, setShowsAll] = useState(false)
  const newest = [...requests].reverse()
  const shown = showsAll ? newest : newest.slice(0, FEW)
  const longest = Math.max(...shown.map((one) => timelineOf(one, now).total), 0.001)
  return (
    <Section title={words.title} class="room-wide">
      {requests.length === 0 ? (
        <p class="quiet">{words.empty}</p>
      ) : (
        <>
          <Legend
            entries={[
              ['queue', words.queue],
              ['computed', words.prefill],
              ['answer', words.decode],
            ]}
          />
          <ol class="requests">
            {shown.map((request) => (
              <Sight key={request.id} isSteady>
                <Line request={request} now={now} longest={longest} />
              </Sight>
            ))}
          </ol>
          {newest.length > FEW && (
            <button class="button button-small" onClick={() => setShowsAll(!showsAll)}>
              {showsAll ? words.less : words.more(newest.length - FEW)}
            </button>
          )}
        </>
      )}
    </Section>
  )
}

function Line({ request, now, longest }: { request: RequestView; now: number; longest: number }) {
  const { queue, prefill, decode, total } = timelineOf(request, now)
  const isBad = request.state === 'failed' || request.state === 'refused'
  const perSecond = decode > 0 && request.answer_tokens > 1 ? (request.answer_tokens - 1) / decode : 0
  const width = (part: number) => ({ width: `${(100 * part) / longest}%` })
  const box = useBox()
  return (
    <li ref={box} class="request">
      <div class="request-who">
        <strong>{request.key ?? texts.room.slots.anonymous}</strong>{' '}
        <span class="quiet numbers">{texts.room.slots.request(request.id)}</span>
        <span class={isBad ? 'request-state request-bad' : 'request-state'}>{words.states[request.state] ?? request.state}</span>
      </div>
      <div class="request-line">
        <div class="request-bar" role="img" aria-label={words.line(seconds(queue), seconds(prefill), seconds(decode))}>
          <span class="fill-queue" style={width(queue)} />
          <span class="fill-computed" style={width(prefill)} />
          <span class="fill-answer" style={width(decode)} />
        </div>
        <span class="request-total numbers">{seconds(total)}</span>
      </div>
      <div class="request-tokens numbers quiet">
        {request.kind === 'embedding' ? words.embedding : words.tokens(count(request.prompt_tokens), count(request.answer_tokens))}
        {perSecond > 0 && ` · ${words.speed(speed(perSecond))}`}
      </div>
      <CacheNote request={request} />
    </li>
  )
}

function CacheNote({ request }: { request: RequestView }) {
  const { cache } = request
  if (!cache) return <div class="request-cache" />
  const source = sourceText(cache, request.prompt_tokens)
  return (
    <div class="request-cache">
      {source && <span class="numbers">{source}. </span>}
      <span class="quiet">{reasonText(cache)}</span>
    </div>
  )
}
