// The time of a step by phase, stacked, over the last minute.
import { texts } from '../texts'
import { WINDOW, type Point } from './history'
import { Legend, Section } from './Section'
import { areasOf, roundedUp } from './areas'

const words = texts.room.steps
const PHASES = ['decode', 'sample', 'draft', 'schedule', 'update', 'send'] as const
const WIDTH = 600
const HEIGHT = 150

export function Steps({ points, now }: { points: readonly Point[]; now: number }) {
  const busy = points.filter((point) => point.steps > 0)
  const last = busy.at(-1)
  if (!last) {
    return (
      <Section title={words.title}>
        <p class="quiet">{words.empty}</p>
      </Section>
    )
  }
  const most = roundedUp(Math.max(...busy.map(totalOf)))
  const shown = totalOf(last).toFixed(totalOf(last) < 10 ? 1 : 0)
  const areas = areasOf(points, PHASES, { now, most, width: WIDTH, height: HEIGHT })
  return (
    <Section title={words.title} aside={<span class="numbers">{words.now(shown)}</span>}>
      <Legend entries={PHASES.map((phase) => [`phase-${phase}`, words.phases[phase] ?? phase])} />
      <div class="chart">
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={words.chart(shown)}>
          {[0.25, 0.5, 0.75, 1].map((share) => (
            <line key={share} class="chart-line" x1="0" x2={WIDTH} y1={HEIGHT * (1 - share)} y2={HEIGHT * (1 - share)} />
          ))}
          {PHASES.map((phase, index) => (
            <path key={phase} class={`fill-phase-${phase}`} d={areas[index] ?? ''} />
          ))}
        </svg>
        <span class="chart-top numbers">{words.ms(String(most))}</span>
        <div class="chart-axis numbers" aria-hidden="true">
          <span>{words.ago(WINDOW)}</span>
          <span>{words.ago(WINDOW / 2)}</span>
          <span>{words.ago(0)}</span>
        </div>
      </div>
    </Section>
  )
}

function totalOf(point: Point): number {
  return Object.values(point.phases).reduce((sum, spent) => sum + spent, 0)
}
