// What each key's requests have cost.
import { texts } from '../texts'
import { count, percent, short } from './format'
import { Section } from './Section'
import type { KeyView } from './types'

const words = texts.room.keys

export function Keys({ keys }: { keys: readonly KeyView[] }) {
  return (
    <Section title={words.title}>
      {keys.length === 0 ? (
        <p class="quiet">{words.empty}</p>
      ) : (
        <div class="room-scroll" tabIndex={0} role="region" aria-label={words.title}>
          <table class="room-table numbers">
            <thead>
              <tr>
                <th scope="col">{words.key}</th>
                <th scope="col">{words.requests}</th>
                <th scope="col">{words.prompt}</th>
                <th scope="col">{words.cached}</th>
                <th scope="col">{words.answer}</th>
              </tr>
            </thead>
            <tbody>
              {keys.map((key) => (
                <tr key={key.key}>
                  <th scope="row">{key.key}</th>
                  <td>{count(key.requests)}</td>
                  <td>{short(key.prompt_tokens)}</td>
                  <td>{percent(key.cached_tokens, key.prompt_tokens)} %</td>
                  <td>{short(key.answer_tokens)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Section>
  )
}
