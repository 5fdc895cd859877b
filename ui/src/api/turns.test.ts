import { describe, expect, it } from 'vitest'
import { FRAME_MS, READING_MS, ReadingTurns, type Clock } from './turns'

class Frames implements Clock {
  time = 0
  frames = 0

  now(): number {
    return this.time
  }

  nextFrame(): Promise<void> {
    this.frames += 1
    this.time = (Math.floor(this.time / FRAME_MS) + 1) * FRAME_MS
    return Promise.resolve()
  }
}

async function read(clock: Frames, pieces: readonly number[], pause = 0): Promise<void> {
  const turns = new ReadingTurns(clock)
  for (const piece of pieces) {
    const begin = turns.now()
    clock.time += piece
    await turns.took(begin)
    clock.time += pause
  }
}

describe('reading in turns', () => {
  it('never waits for slow streams', async () => {
    const clock = new Frames()
    await read(clock, Array<number>(100).fill(1), 10)
    expect(clock.frames).toBe(0)
  })

  it('reads so much in each frame of a quick stream', async () => {
    const clock = new Frames()
    await read(clock, Array<number>(600).fill(1))
    expect(clock.frames).toBe(600 / READING_MS)
  })

  it('waits after a piece that took long, once', async () => {
    const clock = new Frames()
    await read(clock, [50, 1, 1])
    expect(clock.frames).toBe(1)
  })
})
