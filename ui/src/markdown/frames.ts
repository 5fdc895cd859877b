// Drawing in pieces: so much in each frame, and the rest in the next ones.

/** Milliseconds of drawing in one frame; layout and everything else get the others. */
export const BUDGET_MS = 8

/** What came of an attempt to draw a piece. */
export type Outcome =
  /** A piece is drawn, and more are left. */
  | 'more'
  /** Nothing is drawn now; something will have to be in a later frame. */
  | 'later'
  /** All is drawn. */
  | 'done'

export interface Drawer {
  /** Draw one small piece. */
  drawPiece(): Outcome
}

export interface Screen {
  /** Milliseconds. */
  now(): number
  /** Call back in the next frame. */
  nextFrame(callback: () => void): void
}

const browser: Screen = {
  now: () => performance.now(),
  nextFrame: (callback) => void requestAnimationFrame(callback),
}

/** Lets drawers draw within the frame's budget, in turns. */
export class FrameQueue {
  private readonly drawers = new Set<Drawer>()
  private spent = 0
  private isAsked = false

  constructor(private readonly screen: Screen = browser) {}

  /** Let a drawer draw: at once what this frame still has time for. */
  add(drawer: Drawer): void {
    this.drawers.add(drawer)
    this.run()
  }

  remove(drawer: Drawer): void {
    this.drawers.delete(drawer)
  }

  private run(): void {
    const waiting = [...this.drawers]
    while (waiting.length && this.spent < BUDGET_MS) {
      const drawer = waiting.shift()
      if (!drawer) break
      const begin = this.screen.now()
      const outcome = drawer.drawPiece()
      this.spent += this.screen.now() - begin
      if (outcome === 'more') waiting.push(drawer)
      else if (outcome === 'done') this.drawers.delete(drawer)
    }
    if ((this.drawers.size || this.spent > 0) && !this.isAsked) this.ask()
  }

  private ask(): void {
    this.isAsked = true
    this.screen.nextFrame(() => {
      this.isAsked = false
      this.spent = 0
      this.run()
    })
  }
}

/** The queue of the page: all texts share one budget. */
export const frameQueue = new FrameQueue()
