// Does something at most so often, and never leaves out the last time.

export class Throttle {
  private timer: ReturnType<typeof setTimeout> | null = null
  private isDue = false

  /** `wait` tells how many milliseconds have to pass after the act that has just begun. */
  constructor(
    private readonly wait: () => number,
    private readonly act: () => void,
  ) {}

  /** Act now, or as soon as the last time is long enough ago. */
  ask(): void {
    this.isDue = true
    if (this.timer === null) this.run()
  }

  private run(): void {
    this.timer = null
    if (!this.isDue) return
    this.isDue = false
    this.act()
    this.timer = setTimeout(() => this.run(), this.wait())
  }
}
