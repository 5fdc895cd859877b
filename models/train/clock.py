"""The working time of a training, which its learning rate follows."""

from __future__ import annotations

import time

# A step that took longer was stopped most of that time (SIGSTOP, or the machine slept).
LONGEST_STEP = 30.0


class WorkingTime:
    """The clock of a training of `minutes`; the clock stands still while the process is stopped."""

    def __init__(self, minutes: float) -> None:
        self.total = 60 * minutes
        self.worked = 0.0
        self.last = time.monotonic()

    def tick(self) -> float:
        """Count the step since the last call; return the share of the time that has passed."""
        now = time.monotonic()
        self.worked += min(now - self.last, LONGEST_STEP)
        self.last = now
        return self.worked / self.total
