// What an empty conversation offers.
import { texts } from '../texts'
import type { ChatSession } from './session'

interface Props {
  readonly session: ChatSession
  readonly isCompared: boolean
  readonly model: string
}

export function Welcome({ session, isCompared, model }: Props) {
  if (isCompared) return <p class="welcome-compare quiet">{texts.compare.help}</p>
  return (
    <div class="welcome">
      <h2>{texts.welcome.title}</h2>
      <p class="quiet">{model ? texts.welcome.help(model) : texts.welcome.helpNoModel}</p>
      <ul class="welcome-prompts">
        {texts.welcome.prompts.map((prompt) => (
          <li key={prompt.title}>
            <button onClick={() => void session.send(prompt.text)}>
              <span>{prompt.title}</span>
              {prompt.text}
            </button>
          </li>
        ))}
      </ul>
    </div>
  )
}
