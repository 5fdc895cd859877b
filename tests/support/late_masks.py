"""Masks that are late without threads and clocks: a list says how long each one takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future

from scheduler.engine.mask_threads import Mask


class LateMasks:
    """Computes each mask when it has been asked for often enough.

    `delays` says how often each one is found not to be done: 0 is a mask that is ready at once. The
    delays are used in turn, for ever.
    """

    def __init__(
        self, delays: Iterable[int], seconds: float = 0.003, sample_seconds: float = 0.0
    ) -> None:
        """The processor time that each mask and each sampling claims, in seconds. By default masks
        are neither slow nor so cheap that the engine computes them itself."""
        self._delays = itertools.cycle(delays)
        self.seconds = seconds
        self.were_slow: list[bool] = []
        """Of each mask, whether it was said to be slow."""
        self.num_waits = 0
        self._time = itertools.count(step=sample_seconds)

    def clock(self) -> float:
        """Advances each time it is asked."""
        return next(self._time)

    def start(self, compute: Callable[[], None], *, is_slow: bool) -> Mask:
        """A mask that will be late, or not."""
        self.were_slow.append(is_slow)
        return _LateMask(compute, next(self._delays), self.seconds)

    def wait(self, masks: Collection[Mask], seconds: float, *, for_all: bool) -> None:
        """Count the wait. Nothing is waited for: to ask a mask is enough."""
        assert masks
        self.num_waits += 1

    def close(self) -> None:
        """Do nothing: there are no threads."""


class _LateMask(Future[float]):
    """A mask that is computed when it is asked for the last time."""

    def __init__(self, compute: Callable[[], None], delay: int, seconds: float) -> None:
        super().__init__()
        self._compute = compute
        self._delay = delay
        self._seconds = seconds

    def done(self) -> bool:
        """Whether the mask is done; each question brings it nearer."""
        if self._delay == 0 and not super().done():
            self._compute()
            self.set_result(self._seconds)
        self._delay = max(self._delay - 1, 0)
        return super().done()
