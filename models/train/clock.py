"""How long a training has worked, which is what its learning rate follows."""

from __future__ import annotations

import time

# A step that took longer was stopped (SIGSTOP, a sleeping machine) for most of that time.
LONGEST_STEP = 30.0


class WorkingTime:
    """The clock of a training of so many minutes; while the process is stopped, it stands still."""

    def __init__(self, minutes: float) -> None:
        self.total = 60 * minutes
        self.worked = 0.0
        self.last = time.monotonic()

    def tick(self) -> float:
        """Count the step since the last call; return the share of the time that is over."""
        now = time.monotonic()
        self.worked += min(now - self.last, LONGEST_STEP)
        self.last = now
        return self.worked / self.total
