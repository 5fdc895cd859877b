// Stacked areas as paths of SVG.
import { WINDOW, type Point } from './history'

interface Frame {
  readonly now: number
  /** The value at the top. */
  readonly most: number
  readonly width: number
  readonly height: number
}

/** One closed path for each phase; the first lies at the bottom. */
export function areasOf(points: readonly Point[], phases: readonly string[], frame: Frame): readonly string[] {
  const lines: Array<Array<readonly [x: number, y: number]>> = [[]]
  phases.forEach(() => lines.push([]))
  for (const point of points) {
    const x = frame.width * (1 - (frame.now - point.time) / WINDOW)
    let sum = 0
    lines[0]?.push([x, frame.height])
    phases.forEach((phase, index) => {
      sum += point.phases[phase] ?? 0
      lines[index + 1]?.push([x, frame.height * (1 - Math.min(sum / frame.most, 1))])
    })
  }
  return phases.map((_, index) => closed(lines[index + 1] ?? [], lines[index] ?? []))
}

function closed(top: ReadonlyArray<readonly [number, number]>, bottom: ReadonlyArray<readonly [number, number]>): string {
  if (top.length === 0) return ''
  const corners = [...top, ...[...bottom].reverse()]
  return `M${corners.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`
}

/** The next round number, so that the scale seldom changes. */
export function roundedUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)))
  const factor = [1, 2, 5, 10].find((one) => one * power >= value) ?? 10
  return Number((factor * power).toPrecision(2))
}
