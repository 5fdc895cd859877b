// The results of tool calls, which the user types in: the page runs no tools.
import { useState } from 'preact/hooks'
import { texts } from '../texts'
import type { ToolCall } from './model'
import type { ChatSession } from './session'

export function CallAnswers({ session, calls }: { session: ChatSession; calls: readonly ToolCall[] }) {
  const [results, setResults] = useState<readonly string[]>(calls.map(() => ''))
  const isComplete = calls.every((_, index) => results[index]?.trim())
  const submit = (event: Event): void => {
    event.preventDefault()
    if (isComplete) void session.answerCalls(results)
  }
  return (
    <form class="call-answers" onSubmit={submit}>
      <p class="field-help">{texts.calls.help}</p>
      {calls.map((call, index) => (
        <label key={call.id} class="field">
          <span>{texts.calls.resultLabel(call.name)}</span>
          <textarea
            class="textarea mono"
            rows={2}
            placeholder={texts.calls.placeholder}
            value={results[index]}
            onInput={(event) => setResults(results.with(index, event.currentTarget.value))}
            onKeyDown={(event) => {
              if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit(event)
            }}
          />
        </label>
      ))}
      <div class="row-end">
        <button class="button button-main button-small" type="submit" disabled={!isComplete}>
          {texts.calls.send}
        </button>
      </div>
    </form>
  )
}
