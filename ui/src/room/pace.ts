// How often the room is drawn: as often as eyes follow, and less often where that would cost too much.

/** Eyes follow no quicker figures. */
export const QUICKEST_MS = 500
/** Slower than this is no live view. */
export const SLOWEST_MS = 2000

/** Drawing may take this share of the page's thread; other threads of the browser take about as much. */
export const SHARE = 1 / 200

/** Of the latest drawing in the mean: one that another program interrupted says little. */
const NEWEST = 0.3

export class Pace {
  private cost: number | null = null

  /** Note what a drawing took, in milliseconds. */
  note(milliseconds: number): void {
    this.cost = this.cost === null ? milliseconds : this.cost + NEWEST * (milliseconds - this.cost)
  }

  /** Milliseconds from one drawing to the next. */
  get wait(): number {
    return Math.min(Math.max((this.cost ?? 0) / SHARE, QUICKEST_MS), SLOWEST_MS)
  }
}

/** Change what is shown, and tell what that took: the change, and style, layout and paint of its frame. */
export function timed(change: () => void, told: (milliseconds: number) => void): void {
  const begin = performance.now()
  change()
  // Components are drawn in a microtask, which the change has asked for before.
  queueMicrotask(() => {
    const changed = performance.now() - begin
    requestAnimationFrame(() => {
      const frame = performance.now()
      const { port1, port2 } = new MessageChannel()
      port2.onmessage = () => told(changed + performance.now() - frame)
      port1.postMessage(null)
    })
  })
}
