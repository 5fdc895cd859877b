// Numbers for people: short, and of one width where they change.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit > 0 && value < 100 ? 1 : 0
  return `${value.toFixed(digits)} ${UNITS[unit]}`
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en')
}

/** A number in at most four characters, such as 1.2k. */
export function short(value: number): string {
  if (value < 1000) return String(Math.round(value))
  if (value < 10_000) return `${(value / 1000).toFixed(1)}k`
  if (value < 1e6) return `${Math.round(value / 1000)}k`
  if (value < 1e9) return `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)}M`
  return `${(value / 1e9).toFixed(value < 1e10 ? 1 : 0)}B`
}

export function seconds(value: number): string {
  if (value < 0.0995) return `${Math.max(Math.round(value * 1000), 0)} ms`
  if (value < 9.95) return `${value.toFixed(2)} s`
  if (value < 120) return `${Math.round(value)} s`
  if (value < 7200) return `${Math.round(value / 60)} min`
  return `${Math.round(value / 3600)} h`
}

export function speed(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : count(perSecond)
}

export function percent(part: number, whole: number): number {
  return whole > 0 ? Math.round((100 * part) / whole) : 0
}
