// The prefix index as a picture that moves, and as a list for those who don't see it.
import { useMemo, useState } from 'preact/hooks'
import { texts } from '../texts'
import { bytes, count, short } from './format'
import { holderOf, layoutOf, ticksOf, type Box, type Layout } from './icicle'
import { Legend, Section } from './Section'
import type { EngineView, NodeView } from './types'

const words = texts.room.prefixes

/** Pixels of the whole picture; rows get lower where there are many. */
const TALLEST = 360
const ROW = { most: 26, least: 5 }
/** Pixels of the label of a scope. */
const LABEL = 22
/** More boxes than this don't glide to their places: each frame of that is laid out. */
const MOST_MOVING = 16
/** Rows lower than this show no text. */
const TEXT_ROW = 15

export function Prefixes({ engine, showsTexts }: { engine: EngineView; showsTexts: boolean }) {
  const { nodes, hidden_scopes: hiddenScopes } = engine.prefixes
  const [isList, setIsList] = useState(false)
  const layout = useMemo(() => layoutOf(nodes), [nodes])
  const busy = new Set(engine.slots.filter((slot) => slot.state !== 'idle').map((slot) => slot.id))
  const isEmpty = layout.boxes.length === 0
  return (
    <Section
      title={words.title}
      class="room-wide"
      aside={
        !isEmpty && (
          <button class="button button-small" aria-pressed={isList} onClick={() => setIsList(!isList)}>
            {isList ? words.asPicture : words.list}
          </button>
        )
      }
    >
      {isEmpty ? (
        <p class="quiet">{words.empty}</p>
      ) : (
        <>
          <p class="quiet room-small">{words.help}</p>
          {isList ? <List layout={layout} busy={busy} /> : <Picture layout={layout} busy={busy} />}
        </>
      )}
      {hiddenScopes > 0 && <p class="quiet room-small">{words.hiddenScopes(hiddenScopes)}</p>}
      {!showsTexts && !isEmpty && <p class="quiet room-small">{words.noTexts}</p>}
    </Section>
  )
}

function Picture({ layout, busy }: { layout: Layout; busy: ReadonlySet<number> }) {
  const [chosen, setChosen] = useState<number | null>(null)
  const row = Math.min(ROW.most, Math.max(ROW.least, TALLEST / layout.rows))
  const box = layout.boxes.find((one) => one.node.id === chosen)
  return (
    <>
      <Legend
        entries={[
          ['running', words.holders.running],
          ['idle', words.holders.idle],
          ['memory', words.holders.memory],
          ['disk', words.holders.disk],
        ]}
      />
      <div
        class="icicle"
        role="img"
        aria-label={words.picture(layout.boxes.length, count(layout.tokens))}
        onPointerLeave={() => setChosen(null)}
      >
        <div class={layout.boxes.length > MOST_MOVING ? 'icicle-boxes' : 'icicle-boxes icicle-moves'} style={{ height: `${layout.rows * row + layout.labels.length * LABEL}px` }}>
          {layout.labels.map(({ root, top }, index) => (
            <span key={root.id} class="icicle-scope" style={{ top: `${top * row + index * LABEL}px`, height: `${LABEL}px` }}>
              {words.scope(root.owner ?? texts.room.slots.anonymous)}
              {root.adapters && ` ${words.adapters}`}
            </span>
          ))}
          {layout.boxes.map((one) => (
            <BoxView key={one.node.id} box={one} row={row} busy={busy} isChosen={one === box} choose={setChosen} />
          ))}
        </div>
        <Axis tokens={layout.tokens} />
      </div>
      <p class="icicle-detail numbers">{box ? <Detail node={box.node} /> : <span class="quiet">{words.choose}</span>}</p>
    </>
  )
}

interface BoxProps {
  readonly box: Box
  readonly row: number
  readonly busy: ReadonlySet<number>
  readonly isChosen: boolean
  readonly choose: (id: number) => void
}

function BoxView({ box, row, busy, isChosen, choose }: BoxProps) {
  const { node, left, width, top, rows, labels } = box
  const gap = row > 10 ? 2 : 1
  return (
    <div
      class={`icicle-box fill-${holderOf(node, busy)}${isChosen ? ' icicle-chosen' : ''}`}
      style={{
        left: `${left * 100}%`,
        width: `calc(${width * 100}% - ${gap}px)`,
        top: `${top * row + labels * LABEL}px`,
        height: `${rows * row - gap}px`,
      }}
      onPointerEnter={() => choose(node.id)}
      onPointerDown={() => choose(node.id)}
    >
      {rows * row >= TEXT_ROW && node.text && <span>{oneLine(node.text)}</span>}
    </div>
  )
}

function Axis({ tokens }: { tokens: number }) {
  return (
    <div class="icicle-axis numbers">
      {ticksOf(tokens)
        .filter((at) => at < 0.96 * tokens)
        .map((at) => (
        <span key={at} style={{ left: `${(100 * at) / tokens}%` }}>
          {short(at)}
        </span>
      ))}
    </div>
  )
}

function Detail({ node }: { node: NodeView }) {
  return (
    <>
      <code>{node.text === null ? words.noText : `“${oneLine(node.text)}…”`}</code> {placeOf(node)} · {holdersOf(node)}
      {node.bytes > 0 && ` · ${bytes(node.bytes)}`}
      {node.hidden > 0 && ` · ${words.hidden(node.hidden)}`}
    </>
  )
}

function List({ layout, busy }: { layout: Layout; busy: ReadonlySet<number> }) {
  return (
    <div class="room-scroll" tabIndex={0} role="region" aria-label={words.title}>
      <table class="room-table">
        <thead>
          <tr>
            <th scope="col">{words.columns.text}</th>
            <th scope="col">{words.columns.place}</th>
            <th scope="col">{words.columns.holders}</th>
          </tr>
        </thead>
        <tbody>
          {[...layout.boxes]
            .sort((a, b) => a.top - b.top || a.left - b.left)
            .map(({ node }) => (
              <tr key={node.id}>
                <td class="mono room-text">
                  <span class={`room-key fill-${holderOf(node, busy)}`} aria-hidden="true" />{' '}
                  {node.text === null ? words.noText : oneLine(node.text)}
                </td>
                <td class="numbers">{placeOf(node)}</td>
                <td>{holdersOf(node)}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </div>
  )
}

function placeOf(node: NodeView): string {
  return words.from(count(node.start), count(node.start + node.tokens))
}

function holdersOf(node: NodeView): string {
  const { held } = words
  const parts = []
  if (node.slots.length) parts.push(held.slots(node.slots.join(', ')))
  if (node.saved) parts.push(held.saved(node.saved))
  if (node.from_disk) parts.push(held.disk(node.from_disk))
  if (node.checkpoints) parts.push(held.checkpoints(node.checkpoints))
  return parts.join(', ')
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim() || '␣'
}
