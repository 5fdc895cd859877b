"""The threads that compute masks of constraints: one for cheap masks, one for slow ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

Mask = Future[float]
"""A mask in the making. Its result is the processor time that it took, in seconds."""


class Masks(Protocol):
    """Computes masks beside the engine's thread."""

    def clock(self) -> float:
        """Processor time of the thread that asks, in seconds."""
        ...

    def start(self, compute: Callable[[], None], *, is_slow: bool) -> Mask:
        """Begin to compute a mask. `is_slow` says that others should not queue behind it."""
        ...

    def wait(self, masks: Collection[Mask], seconds: float, *, for_all: bool) -> None:
        """Wait until all masks are done, or only the first, but not longer than `seconds`."""
        ...

    def close(self) -> None:
        """Wait for what is being computed, and end."""
        ...


class MaskThreads:
    """Cheap masks never queue behind masks that are known to be slow.

    The threads have the priority of all others: each holds the interpreter's lock for moments, in
    which a thread of low priority would stop everybody.
    """

    def __init__(self) -> None:
        self._cheap = ThreadPoolExecutor(1, "masks")
        self._slow = ThreadPoolExecutor(1, "slow-masks")

    def clock(self) -> float:
        """Processor time of the thread that asks: other processes don't make a mask slower."""
        return time.thread_time()

    def start(self, compute: Callable[[], None], *, is_slow: bool) -> Mask:
        """Begin to compute a mask, in the order of the calls."""
        return (self._slow if is_slow else self._cheap).submit(self._timed, compute)

    def wait(self, masks: Collection[Mask], seconds: float, *, for_all: bool) -> None:
        """Wait until all masks are done, or only the first, but not longer than `seconds`."""
        wait(masks, seconds, ALL_COMPLETED if for_all else FIRST_COMPLETED)

    def close(self) -> None:
        """Wait for the masks that are being computed, and end the threads."""
        self._cheap.shutdown(cancel_futures=True)
        self._slow.shutdown(cancel_futures=True)

    def _timed(self, compute: Callable[[], None]) -> float:
        begin = self.clock()
        compute()
        return self.clock() - begin
