// Numbers and times as people read them.

/** "< 0.01 s", "0.12 s", "3.4 s", "2 min 5 s". */
export function seconds(milliseconds: number): string {
  const value = milliseconds / 1000
  if (value < 0.01) return '< 0.01 s'
  if (value < 1) return `${value.toFixed(2)} s`
  if (value < 60) return `${value.toFixed(1)} s`
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
}

/** Three digits at most, so that the number is calm while it changes. */
export function rate(perSecond: number): string {
  if (perSecond >= 100) return Math.round(perSecond).toLocaleString('en')
  return perSecond >= 10 ? perSecond.toFixed(1) : perSecond.toFixed(2)
}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`
  if (count < 1_000_000) return `${Math.round(count / 1000)} kB`
  return `${(count / 1_000_000).toFixed(1)} MB`
}

export type Age = 'today' | 'yesterday' | 'week' | 'month' | 'older'

/** The group of the list into which a time belongs. */
export function ageOf(time: number, now: number): Age {
  const midnight = new Date(now)
  midnight.setHours(0, 0, 0, 0)
  const days = (midnight.getTime() - time) / 86_400_000
  if (days <= 0) return 'today'
  if (days <= 1) return 'yesterday'
  if (days <= 7) return 'week'
  return days <= 30 ? 'month' : 'older'
}
