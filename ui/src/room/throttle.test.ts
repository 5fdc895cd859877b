import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Throttle } from './throttle'

describe('a throttle', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('acts at once, then at most so often, and never forgets the last time', () => {
    const times: number[] = []
    const begin = Date.now()
    const throttle = new Throttle(() => 500, () => times.push(Date.now() - begin))
    for (let turn = 0; turn < 12; turn++) {
      throttle.ask()
      vi.advanceTimersByTime(100)
    }
    vi.advanceTimersByTime(5000)
    expect(times).toEqual([0, 500, 1000, 1500])
    throttle.ask()
    expect(times).toHaveLength(5)
  })
})
