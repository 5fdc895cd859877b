// Reading in turns: a stream that is faster than the screen leaves each frame time for drawing.

/** Milliseconds in which a frame may read streams. Drawing has a budget of its own. */
export const READING_MS = 6

/** Milliseconds after which a turn ends in any case. */
export const FRAME_MS = 16

export interface Clock {
  /** Milliseconds. */
  now(): number
  /** Is over when the next frame has begun. At once where nothing is drawn, as in a tab in the background. */
  nextFrame(): Promise<void>
}

const browser: Clock = {
  now: () => performance.now(),
  nextFrame: () =>
    document.hidden
      ? Promise.resolve()
      : new Promise((resolve) => {
          const timer = setTimeout(resolve, 100) // the tab may be hidden meanwhile
          requestAnimationFrame(() => {
            clearTimeout(timer)
            setTimeout(resolve) // after this frame is drawn
          })
        }),
}

/** Counts what is read in a frame. */
export class ReadingTurns {
  private begin = -Infinity
  private spent = 0

  constructor(private readonly clock: Clock = browser) {}

  /** Note that reading, and what it led to, took from `begin` until now. Waits if that was all of this frame's time. */
  async took(begin: number): Promise<void> {
    const now = this.clock.now()
    if (begin - this.begin > FRAME_MS) {
      this.begin = begin
      this.spent = 0
    }
    this.spent += now - begin
    if (this.spent < READING_MS) return
    await this.clock.nextFrame()
    this.begin = -Infinity
  }

  now(): number {
    return this.clock.now()
  }
}
