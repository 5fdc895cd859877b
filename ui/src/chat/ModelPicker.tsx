// The model of a conversation, chosen out of what the server serves.
import { firstModel, models, refreshServer, type ModelEntry } from '../api/server'
import { texts } from '../texts'
import type { ChatSession } from './session'

export function ModelPicker({ session }: { session: ChatSession }) {
  const chosen = session.conversation.value.settings.model
  const names = models.value.map((model) => model.id)
  const isUnknown = chosen !== '' && !models.value.some((model) => model.id === chosen || model.aliases.includes(chosen))
  const shown = chosen || firstModel.value
  if (names.length < 2 && !isUnknown) {
    return <span class="model-name">{shown || texts.chat.noModels}</span>
  }
  return (
    <select
      class="select model-picker"
      aria-label={texts.chat.model}
      value={shown}
      onFocus={() => void refreshServer()}
      onChange={(event) => session.setSettings({ model: event.currentTarget.value })}
    >
      {isUnknown && <option value={chosen}>{chosen}</option>}
      {models.value.map((model) => (
        <option key={model.id} value={model.id}>
          {labelOf(model)}
        </option>
      ))}
    </select>
  )
}

function labelOf(model: ModelEntry): string {
  const states: Readonly<Record<string, string>> = texts.chat.states
  return model.state === 'loaded' ? model.id : `${model.id} (${states[model.state] ?? model.state})`
}
