import { describe, expect, it } from 'vitest'
import { Pace, QUICKEST_MS, SHARE, SLOWEST_MS } from './pace'

describe('the pace of the room', () => {
  it('is quick where a drawing costs little', () => {
    const pace = new Pace()
    expect(pace.wait).toBe(QUICKEST_MS)
    pace.note(1)
    expect(pace.wait).toBe(QUICKEST_MS)
  })

  it('takes the same share of the time where a drawing costs more', () => {
    const pace = new Pace()
    for (const milliseconds of [5, 5, 5]) pace.note(milliseconds)
    expect(5 / pace.wait).toBeCloseTo(SHARE)
  })

  it('is never so slow that nothing seems to happen', () => {
    const pace = new Pace()
    pace.note(10_000)
    expect(pace.wait).toBe(SLOWEST_MS)
  })

  it('forgets one drawing that was interrupted', () => {
    const pace = new Pace()
    for (const milliseconds of [3, 3, 40, 3, 3, 3, 3, 3, 3]) pace.note(milliseconds)
    expect(pace.wait).toBeLessThan(1200)
  })
})
