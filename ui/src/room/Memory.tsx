// The cells of the KV cache, and host memory for prefixes.
import { texts } from '../texts'
import { Bar } from './Bar'
import { bytes, count } from './format'
import { Legend, Section } from './Section'
import type { EngineView } from './types'

const words = texts.room.memory

export function Memory({ engine }: { engine: EngineView }) {
  const { cells, memory, facts } = engine
  return (
    <Section title={words.title}>
      <div class="room-measure">
        <h3>{words.cells}</h3>
        <span class="numbers quiet">
          {count(cells.running + cells.idle)} / {count(cells.total)}
        </span>
        <Bar
          parts={[
            { kind: 'answer', amount: cells.running },
            { kind: 'kept', amount: cells.idle },
          ]}
          whole={cells.total}
          label={words.cellsBar(count(cells.running), count(cells.idle), count(cells.total))}
        />
      </div>
      <Legend
        entries={[
          ['answer', words.running],
          ['kept', words.kept],
        ]}
      />
      {memory.capacity > 0 ? (
        <div class="room-measure">
          <h3>{words.host}</h3>
          <span class="numbers quiet">
            {bytes(memory.used)} / {bytes(memory.capacity)}
          </span>
          <Bar
            parts={[{ kind: 'memory', amount: memory.used }]}
            whole={memory.capacity}
            label={words.hostBar(bytes(memory.used), bytes(memory.capacity))}
          />
          <p class="room-small quiet">
            {words.prefixes(memory.prefixes)}
            {memory.checkpoints > 0 && `, ${words.checkpoints(memory.checkpoints)}`}
            {facts.cell_bytes > 0 && ` · ${words.cellBytes(bytes(facts.cell_bytes))}`}
          </p>
        </div>
      ) : (
        <p class="quiet room-small">{words.hostOff}</p>
      )}
    </Section>
  )
}
