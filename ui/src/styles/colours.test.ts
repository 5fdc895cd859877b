// The colours of series can be told apart, also by people who see fewer colours, and stand out from the surface.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

type Triple = readonly [number, number, number]
type Matrix = readonly [Triple, Triple, Triple]

/** How linear colours look to eyes without one kind of cones (Machado and others, 2009). */
const EYES: Readonly<Record<string, Matrix>> = {
  usual: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}

/** Distance in CIELAB; about 2 is the least that anybody sees, in large patches. */
const LEAST_DISTANCE = 25
const LEAST_CONTRAST = 3

const css = readFileSync('src/styles/tokens.css', 'utf8')
const themes = css.split(/^(?=@media|:root\[)/m).filter((block) => block.includes('--series-1'))

const linear = (colour: string): Triple => {
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
  const [r = 0, g = 0, b = 0] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
  return [r, g, b]
}
const dot = (one: Triple, other: Triple): number => one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
const seen = (colour: Triple, [r, g, b]: Matrix): Triple => {
  const clamp = (row: Triple): number => Math.min(Math.max(dot(row, colour), 0), 1)
  return [clamp(r), clamp(g), clamp(b)]
}
const luminance = (colour: Triple): number => dot([0.2126, 0.7152, 0.0722], colour)
const lab = (colour: Triple): Triple => {
  const f = (value: number): number => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116)
  const x = f(dot([0.4124, 0.3576, 0.1805], colour) / 0.95047)
  const y = f(luminance(colour))
  const z = f(dot([0.0193, 0.1192, 0.9505], colour) / 1.08883)
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)]
}
const contrast = (one: Triple, other: Triple): number => {
  const [low = 0, high = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b)
  return (high + 0.05) / (low + 0.05)
}

describe.each(themes.map((block, index) => [index, block] as const))('the series of theme %i', (_, block) => {
  const colour = (name: string): Triple => linear(new RegExp(`--${name}: (#[0-9a-f]{6});`).exec(block)?.[1] ?? '')
  const series = [1, 2, 3, 4, 5, 6].map((place) => colour(`series-${place}`))

  it('stand out from the surface', () => {
    for (const one of series) expect(contrast(one, colour('surface'))).toBeGreaterThan(LEAST_CONTRAST)
  })

  it.each(Object.entries(EYES))('are apart for %s eyes', (_name, eyes) => {
    const labs = series.map((one) => lab(seen(one, eyes)))
    const pairs = labs.flatMap((one, at) => labs.slice(at + 1).map((other) => [one, other] as const))
    for (const [one, other] of pairs) {
      expect(Math.hypot(one[0] - other[0], one[1] - other[1], one[2] - other[2])).toBeGreaterThan(LEAST_DISTANCE)
    }
  })
})

it('every theme is looked at', () => expect(themes).toHaveLength(3))
