import { describe, expect, it } from 'vitest'
import { BUDGET_MS, FrameQueue, type Drawer, type Outcome } from './frames'

/** A screen whose time goes on only by drawing. */
class FakeScreen {
  time = 0
  private waiting: Array<() => void> = []

  now(): number {
    return this.time
  }

  nextFrame(callback: () => void): void {
    this.waiting.push(callback)
  }

  /** The next frame. Returns the milliseconds that were spent on it. */
  frame(): number {
    const [callbacks, begin] = [this.waiting, this.time]
    this.waiting = []
    for (const callback of callbacks) callback()
    return this.time - begin
  }

  get isIdle(): boolean {
    return this.waiting.length === 0
  }
}

/** So many pieces, each of which takes so long. */
function drawer(screen: FakeScreen, pieces: number, milliseconds: number): Drawer & { drawn: number } {
  return {
    drawn: 0,
    drawPiece(): Outcome {
      if (this.drawn >= pieces) return 'done'
      screen.time += milliseconds
      this.drawn += 1
      return this.drawn < pieces ? 'more' : 'done'
    },
  }
}

describe('the queue of frames', () => {
  it('draws at once what fits into a frame', () => {
    const screen = new FakeScreen()
    const one = drawer(screen, 3, 1)
    new FrameQueue(screen).add(one)
    expect(one.drawn).toBe(3)
  })

  it.each([10, 100, 1000])('spends no more on a frame with %i pieces', (pieces) => {
    const screen = new FakeScreen()
    const one = drawer(screen, pieces, 3)
    const queue = new FrameQueue(screen)
    queue.add(one)
    let most = screen.time
    while (!screen.isIdle) most = Math.max(most, screen.frame())
    expect(one.drawn).toBe(pieces)
    expect(most).toBeLessThan(BUDGET_MS + 3)
  })

  it('has one budget for all, and lets them take turns', () => {
    const screen = new FakeScreen()
    const queue = new FrameQueue(screen)
    const [one, other] = [drawer(screen, 50, 2), drawer(screen, 50, 2)]
    queue.add(one)
    queue.add(other)
    expect(screen.time).toBeLessThan(BUDGET_MS + 2)
    expect(screen.frame()).toBeLessThan(BUDGET_MS + 2)
    expect(other.drawn).toBeGreaterThan(0)
  })

  it('asks again for what can only be drawn later, and not for what is removed', () => {
    const screen = new FakeScreen()
    const queue = new FrameQueue(screen)
    let turns = 0
    const late: Drawer = { drawPiece: () => (++turns < 4 ? 'later' : 'done') }
    queue.add(late)
    while (!screen.isIdle) screen.frame()
    expect(turns).toBe(4)
    const gone = drawer(screen, 100, 5)
    queue.add(gone)
    queue.remove(gone)
    const { drawn } = gone
    screen.frame()
    expect(gone.drawn).toBe(drawn)
    screen.frame()
    expect(screen.isIdle).toBe(true)
  })
})
