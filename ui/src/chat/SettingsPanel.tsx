// The settings of one conversation: system prompt, sampling, the form of the answer, tools.
import { useEffect, useState } from 'preact/hooks'
import { factsOf } from '../api/server'
import { CodeEditor } from '../parts/CodeEditor'
import { Icon } from '../parts/Icon'
import { Segments } from '../parts/Segments'
import { notify } from '../parts/Toasts'
import { texts } from '../texts'
import type { Side } from './ChatPane'
import { flawOf, shippedGrammars, type ShippedGrammar } from './checking'
import { keepDefaultSettings } from './library'
import { DEFAULT_SETTINGS, FORMAT_KINDS, type ChatSettings, type Sampling } from './model'
import type { ChatSession } from './session'

const words = texts.chatSettings

interface Props {
  readonly session: ChatSession
  readonly side: Side
  readonly onClose: () => void
}

export function SettingsPanel({ session, side, onClose }: Props) {
  const settings = session.conversation.value.settings
  const set = (fields: Partial<ChatSettings>): void => session.setSettings(fields)
  useEffect(() => document.getElementById('settings-close')?.focus(), [])
  const title = side === 'only' ? words.title : words.compareTitle(texts.compare[side])
  return (
    <aside
      class="panel"
      aria-label={texts.chat.settings}
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || event.target instanceof HTMLTextAreaElement) return
        event.preventDefault()
        onClose()
      }}
    >
      <header class="panel-head">
        <h2>{title}</h2>
        <button id="settings-close" class="icon-button" aria-label={texts.common.close} onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      <div class="panel-scroll">
        <label class="field">
          <span>{words.instructions}</span>
          <textarea
            class="textarea"
            name="system"
            rows={4}
            placeholder={words.instructionsPlaceholder}
            value={settings.system}
            onInput={(event) => set({ system: event.currentTarget.value })}
          />
          <span class="field-help">{words.instructionsHelp}</span>
        </label>
        <SamplingFields settings={settings} set={set} />
        <fieldset class="group">
          <legend>{words.thinking}</legend>
          <Segments
            name={`thinking-${side}`}
            label={words.thinking}
            value={settings.thinking}
            options={[
              ['default', words.thinkingDefault],
              ['on', words.thinkingOn],
              ['off', words.thinkingOff],
            ]}
            onChange={(thinking) => set({ thinking })}
          />
        </fieldset>
        <FormatFields settings={settings} set={set} side={side} />
        <ToolFields settings={settings} set={set} side={side} />
        <footer class="row">
          <button
            class="button button-small"
            onClick={() => {
              keepDefaultSettings(settings)
              notify(words.asDefaultDone)
            }}
          >
            {words.asDefault}
          </button>
          <button class="button button-small" onClick={() => set({ ...DEFAULT_SETTINGS, model: settings.model })}>
            {words.reset}
          </button>
        </footer>
      </div>
    </aside>
  )
}

interface FieldsProps {
  readonly settings: ChatSettings
  readonly set: (fields: Partial<ChatSettings>) => void
}

interface NumberField {
  readonly name: keyof Sampling
  readonly label: string
  readonly min: number
  readonly max?: number
  readonly step: number | 'any'
}

const NUMBERS: readonly NumberField[] = [
  { name: 'temperature', label: words.temperature, min: 0, max: 5, step: 'any' },
  { name: 'max_tokens', label: words.maxTokens, min: 1, step: 1 },
  { name: 'top_p', label: words.topP, min: 0, max: 1, step: 'any' },
  { name: 'top_k', label: words.topK, min: 0, step: 1 },
  { name: 'min_p', label: words.minP, min: 0, max: 1, step: 'any' },
  { name: 'seed', label: words.seed, min: 0, max: 4294967295, step: 1 },
  { name: 'repeat_penalty', label: words.repeat, min: 0, step: 'any' },
  { name: 'presence_penalty', label: words.presence, min: -2, max: 2, step: 'any' },
  { name: 'frequency_penalty', label: words.frequency, min: -2, max: 2, step: 'any' },
]

function SamplingFields({ settings, set }: FieldsProps) {
  const defaults = factsOf(settings.model)?.defaults ?? {}
  return (
    <fieldset class="group">
      <legend>{words.sampling}</legend>
      <p class="field-help">{words.samplingHelp}</p>
      <div class="numbers-grid">
        {NUMBERS.map((field) => (
          <NumberInput
            key={field.name}
            field={field}
            value={settings.sampling[field.name]}
            placeholder={shownDefault(field.name, defaults)}
            onChange={(value) => set({ sampling: { ...settings.sampling, [field.name]: value } })}
          />
        ))}
      </div>
      <label class="field">
        <span>{words.stop}</span>
        <textarea
          class="textarea mono"
          rows={2}
          value={settings.stop}
          onInput={(event) => set({ stop: event.currentTarget.value })}
        />
        <span class="field-help">{words.stopHelp}</span>
      </label>
    </fieldset>
  )
}

/** The server's default as it stands in an empty field; limits that are none stay empty. */
function shownDefault(name: keyof Sampling, defaults: Readonly<Record<string, unknown>>): string {
  const value = defaults[name === 'max_tokens' ? 'n_predict' : name]
  if (typeof value !== 'number' || name === 'seed' || value < 0) return ''
  return String(Number(value.toFixed(4)))
}

interface NumberProps {
  readonly field: NumberField
  readonly value: number | null
  readonly placeholder: string
  readonly onChange: (value: number | null) => void
}

function NumberInput({ field, value, placeholder, onChange }: NumberProps) {
  const [isWrong, setWrong] = useState(false)
  const onInput = (input: HTMLInputElement): void => {
    const isValid = input.validity.valid
    setWrong(!isValid)
    if (isValid) onChange(input.value === '' ? null : input.valueAsNumber)
  }
  return (
    <label class="field">
      <span>{field.label}</span>
      <input
        class="input numbers"
        type="number"
        inputMode="decimal"
        name={field.name}
        min={field.min}
        max={field.max}
        step={field.step}
        placeholder={placeholder}
        aria-invalid={isWrong ? 'true' : undefined}
        value={value ?? ''}
        onInput={(event) => onInput(event.currentTarget)}
      />
    </label>
  )
}

function FormatFields({ settings, set, side }: FieldsProps & { side: Side }) {
  const { format } = settings
  return (
    <fieldset class="group">
      <legend>{words.format}</legend>
      <Segments
        name={`format-${side}`}
        label={words.format}
        value={format}
        options={FORMAT_KINDS.map((kind) => [kind, words.formats[kind]])}
        onChange={(chosen) => set(startOf(chosen, settings))}
      />
      {words.formatHelp[format] && <p class="field-help">{words.formatHelp[format]}</p>}
      {format === 'json_schema' && (
        <CodeEditor
          label={words.formats.json_schema}
          value={settings.schema}
          onChange={(schema) => set({ schema })}
          check={(text, signal) => flawOf('schema', text, signal)}
        />
      )}
      {format === 'grammar' && (
        <>
          <CodeEditor
            label={words.formats.grammar}
            value={settings.grammar}
            onChange={(grammar) => set({ grammar })}
            check={(text, signal) => flawOf('grammar', text, signal)}
          />
          <ShippedGrammars onChoose={(grammar) => set({ grammar })} />
        </>
      )}
      {format === 'regex' && (
        <CodeEditor
          label={words.formats.regex}
          value={settings.regex}
          rows={1}
          onChange={(regex) => set({ regex })}
          check={(text, signal) => flawOf('regex', text, signal)}
        />
      )}
    </fieldset>
  )
}

const EXAMPLE_SCHEMA = `{
  "type": "object",
  "properties": {
    "city": { "type": "string" },
    "country": { "type": "string" }
  },
  "required": ["city", "country"]
}`

const EXAMPLE_GRAMMAR = 'root ::= "yes" | "no"'

const EXAMPLE_TOOLS = `[
  {
    "type": "function",
    "function": {
      "name": "get_weather",
      "description": "Get the current weather of a city.",
      "parameters": {
        "type": "object",
        "properties": { "city": { "type": "string" } },
        "required": ["city"]
      }
    }
  }
]`

/** A form that is chosen for the first time begins with an example. */
function startOf(format: ChatSettings['format'], settings: ChatSettings): Partial<ChatSettings> {
  if (format === 'json_schema' && !settings.schema) return { format, schema: EXAMPLE_SCHEMA }
  if (format === 'grammar' && !settings.grammar) return { format, grammar: EXAMPLE_GRAMMAR }
  if (format === 'regex' && !settings.regex) return { format, regex: '[A-Z][a-z]+' }
  return { format }
}

function ShippedGrammars({ onChoose }: { onChoose: (grammar: string) => void }) {
  const [grammars, setGrammars] = useState<readonly ShippedGrammar[]>([])
  useEffect(() => void shippedGrammars().then(setGrammars), [])
  if (!grammars.length) return null
  return (
    <select
      class="select"
      aria-label={words.shipped}
      value=""
      onChange={(event) => {
        const chosen = grammars.find((grammar) => grammar.id === event.currentTarget.value)
        if (chosen) onChoose(chosen.grammar)
      }}
    >
      <option value="">{words.shipped}</option>
      {grammars.map((grammar) => (
        <option key={grammar.id} value={grammar.id} title={grammar.summary}>
          {grammar.id}
        </option>
      ))}
    </select>
  )
}

function ToolFields({ settings, set, side }: FieldsProps & { side: Side }) {
  return (
    <fieldset class="group">
      <legend>{words.tools}</legend>
      <p class="field-help">{words.toolsHelp}</p>
      <CodeEditor
        label={words.tools}
        value={settings.tools}
        rows={4}
        placeholder="[]"
        onChange={(tools) => set({ tools })}
        check={(text, signal) => flawOf('tools', text, signal)}
      />
      {settings.tools.trim() ? (
        <label class="field">
          <span>{words.toolChoice}</span>
          <Segments
            name={`tool-choice-${side}`}
            label={words.toolChoice}
            value={settings.toolChoice}
            options={[
              ['auto', words.toolChoices.auto],
              ['required', words.toolChoices.required],
              ['none', words.toolChoices.none],
            ]}
            onChange={(toolChoice) => set({ toolChoice })}
          />
        </label>
      ) : (
        <button class="button button-small" type="button" onClick={() => set({ tools: EXAMPLE_TOOLS })}>
          {words.toolsExample}
        </button>
      )}
    </fieldset>
  )
}
