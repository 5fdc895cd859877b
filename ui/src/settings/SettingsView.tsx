// The settings of the page: its look, the key, what the browser keeps, and what the server is.
import './settings.css'
import { useEffect, useState } from 'preact/hooks'
import { urlOf } from '../api/client'
import { apiKey, setKey } from '../api/key'
import { facts, refreshServer } from '../api/server'
import { isHelpOpen } from '../app/Shortcuts'
import { theme, type Theme } from '../app/theme'
import { conversations, listed, load, remove } from '../chat/library'
import { exportToFile, importFromFile } from '../chat/transferring'
import { Dialog } from '../parts/Dialog'
import { Icon } from '../parts/Icon'
import { Segments } from '../parts/Segments'
import { notify } from '../parts/Toasts'
import { texts } from '../texts'

const words = texts.settings
const THEMES: ReadonlyArray<readonly [Theme, string]> = [
  ['system', words.themes.system],
  ['light', words.themes.light],
  ['dark', words.themes.dark],
]

export default function SettingsView() {
  useEffect(() => {
    void load()
    void refreshServer()
  }, [])
  return (
    <main class="page-view settings">
      <h1>{words.title}</h1>
      <section class="card stack">
        <h2>{words.appearance}</h2>
        <div class="setting">
          <span>{words.theme}</span>
          <Segments name="theme" label={words.theme} value={theme.value} options={THEMES} onChange={(value) => (theme.value = value)} />
        </div>
        <div class="setting">
          <span>{words.keyboard}</span>
          <button class="button button-small" onClick={() => (isHelpOpen.value = true)}>
            <Icon name="keyboard" size={16} />
            {words.showKeys}
          </button>
        </div>
      </section>
      <AccessCard />
      <DataCard />
      <AboutCard />
    </main>
  )
}

function AccessCard() {
  const [key, change] = useState(apiKey.value)
  const submit = (event: Event): void => {
    event.preventDefault()
    setKey(key.trim())
    notify(words.keySaved)
    void refreshServer()
  }
  const forget = (): void => {
    change('')
    setKey('')
  }
  return (
    <section class="card stack">
      <h2>{words.access}</h2>
      <form class="field" onSubmit={submit}>
        <label class="field">
          <span>{words.key}</span>
          <input
            class="input mono"
            type="password"
            autocomplete="off"
            value={key}
            onInput={(event) => change(event.currentTarget.value)}
          />
        </label>
        <span class="field-help">{words.keyHelp}</span>
        <div class="row">
          <button class="button button-small button-main" type="submit" disabled={!key.trim() || key.trim() === apiKey.value}>
            {texts.common.save}
          </button>
          <button class="button button-small" type="button" disabled={!apiKey.value} onClick={forget}>
            {words.keyForget}
          </button>
        </div>
      </form>
    </section>
  )
}

function DataCard() {
  const [isAsking, setAsking] = useState(false)
  const isEmpty = listed.value.length === 0
  const removeAll = (): void => {
    setAsking(false)
    void remove(...conversations.value)
  }
  return (
    <section class="card stack">
      <h2>{words.data}</h2>
      <p class="quiet">{words.dataHelp(listed.value.length)}</p>
      <div class="row">
        <button class="button button-small" disabled={isEmpty} onClick={() => void exportToFile()}>
          <Icon name="download" size={16} />
          {words.exportAll}
        </button>
        <button class="button button-small" onClick={() => void importFromFile()}>
          <Icon name="upload" size={16} />
          {words.import}
        </button>
        <button class="button button-small button-danger" disabled={isEmpty} onClick={() => setAsking(true)}>
          {words.deleteAll}
        </button>
      </div>
      <Dialog title={words.deleteAllTitle} isOpen={isAsking} onClose={() => setAsking(false)}>
        <p class="quiet">{words.deleteAllHelp}</p>
        <div class="row-end">
          <button class="button" onClick={() => setAsking(false)}>
            {texts.common.cancel}
          </button>
          <button class="button button-danger" onClick={removeAll}>
            {texts.common.delete}
          </button>
        </div>
      </Dialog>
    </section>
  )
}

function AboutCard() {
  const found = facts.value.get('') ?? [...facts.value.values()][0]
  return (
    <section class="card stack">
      <h2>{words.about}</h2>
      {found ? (
        <dl class="facts">
          <dt>{words.model}</dt>
          <dd>
            {found.name} {found.fileType && `(${found.fileType})`}
          </dd>
          <dt>{words.slots}</dt>
          <dd class="numbers">{found.slots}</dd>
          <dt>{words.context}</dt>
          <dd class="numbers">{words.tokens(found.slotTokens)}</dd>
          <dt>{words.build}</dt>
          <dd>{found.build}</dd>
        </dl>
      ) : (
        <p class="quiet">{words.unknown}</p>
      )}
      <a href={urlOf('openapi.json')} target="_blank" rel="noopener">
        {words.api}
      </a>
    </section>
  )
}
