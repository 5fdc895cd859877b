// A text area for code: line numbers, a mark at the place of an error, Tab indents.
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { texts } from '../texts'

export interface Mark {
  readonly message: string
  readonly offset: number | null
}

/** How a check went: null has found nothing wrong. */
export type Check = (text: string, signal: AbortSignal) => Promise<Mark | null>

interface Props {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
  readonly check: Check
  readonly placeholder?: string
  readonly rows?: number
}

type State = { kind: 'none' | 'checking' | 'valid' } | { kind: 'wrong'; mark: Mark } | { kind: 'unknown'; why: string }

const CHECK_DELAY_MS = 350

export function CodeEditor({ label, value, onChange, check, placeholder, rows = 8 }: Props) {
  const id = useId()
  const area = useRef<HTMLTextAreaElement>(null)
  const gutter = useRef<HTMLDivElement>(null)
  const state = useCheck(value, check)
  const mark = state.kind === 'wrong' ? state.mark : null
  const place = mark && mark.offset !== null ? lineAndColumn(value, mark.offset) : null
  const lines = value.split('\n').length
  const goToMark = (): void => {
    if (mark?.offset === null || mark === null) return
    area.current?.focus()
    area.current?.setSelectionRange(mark.offset, mark.offset + 1)
  }
  return (
    <div class="code-editor">
      <div class={`code-box ${mark ? 'code-box-wrong' : ''}`}>
        <div class="code-gutter mono" ref={gutter} aria-hidden="true">
          {Array.from({ length: lines }, (_, index) => (
            <span key={index} class={place?.line === index + 1 ? 'code-line-wrong' : ''}>
              {index + 1}
            </span>
          ))}
        </div>
        <textarea
          ref={area}
          class="mono"
          aria-label={label}
          aria-invalid={mark ? 'true' : undefined}
          aria-describedby={id}
          spellcheck={false}
          autocapitalize="off"
          wrap="off"
          rows={Math.min(20, Math.max(rows, lines))}
          placeholder={placeholder}
          value={value}
          onInput={(event) => onChange(event.currentTarget.value)}
          onScroll={(event) => {
            if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop
          }}
          onKeyDown={(event) => indent(event, onChange)}
        />
      </div>
      <p id={id} class={`code-state code-state-${state.kind}`} role="status">
        {state.kind === 'checking' && texts.chatSettings.checking}
        {state.kind === 'valid' && texts.chatSettings.valid}
        {state.kind === 'unknown' && state.why}
        {mark && (
          <>
            {place && (
              <button type="button" class="link-button" onClick={goToMark}>
                {texts.chatSettings.place(place.line, place.column)}
              </button>
            )}
            {place && ': '}
            {mark.message}
          </>
        )}
      </p>
    </div>
  )
}

function useCheck(value: string, check: Check): State {
  const [state, setState] = useState<State>({ kind: 'none' })
  const current = useRef(check)
  current.current = check
  useEffect(() => {
    if (!value.trim()) {
      setState({ kind: 'none' })
      return
    }
    const controller = new AbortController()
    const timer = setTimeout(() => {
      setState({ kind: 'checking' })
      current.current(value, controller.signal).then(
        (mark) => !controller.signal.aborted && setState(mark ? { kind: 'wrong', mark } : { kind: 'valid' }),
        (error: unknown) =>
          !controller.signal.aborted && setState({ kind: 'unknown', why: error instanceof Error ? error.message : String(error) }),
      )
    }, CHECK_DELAY_MS)
    return () => {
      controller.abort()
      clearTimeout(timer)
    }
  }, [value])
  return state
}

export function lineAndColumn(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset)
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') }
}

/** Tab indents; with Shift, or after Escape, Tab leaves the editor as everywhere. */
function indent(event: KeyboardEvent & { currentTarget: HTMLTextAreaElement }, onChange: (value: string) => void): void {
  if (event.key === 'Escape') event.currentTarget.dataset.leaves = 'yes'
  if (event.key !== 'Tab' || event.shiftKey || event.currentTarget.dataset.leaves) {
    if (event.key !== 'Escape') delete event.currentTarget.dataset.leaves
    return
  }
  event.preventDefault()
  const area = event.currentTarget
  area.setRangeText('  ', area.selectionStart, area.selectionEnd, 'end')
  onChange(area.value)
}
