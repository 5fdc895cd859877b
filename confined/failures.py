"""What a pool remembers of questions that broke a limit lately, so that to repeat them is cheap."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

REMEMBERED_SECONDS = 10.0
"""A question may fail because the machine is busy. So it is asked again soon."""

MOST_REMEMBERED = 1024


class Failures:
    """Questions that were slow or failed. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._errors: OrderedDict[int, tuple[type[Exception] | None, float]] = OrderedDict()
        """By the question's hash: how it failed, and until when that counts."""

    def is_slow(self, question: Hashable) -> bool:
        """Whether a quick attempt is in vain. Raises the error of a question that failed."""
        if not self._errors:  # no question needs to be hashed
            return False
        with self._lock:
            error, end = self._errors.get(hash(question), (None, 0.0))
        if self._clock() >= end:
            return False
        if error is not None:
            raise error
        return True

    def add(self, question: Hashable, error: type[Exception] | None = None) -> None:
        """Remember a question for some time: as slow, or as one that ends in this error."""
        key, now = hash(question), self._clock()
        with self._lock:
            self._errors.pop(key, None)
            self._errors[key] = (error, now + REMEMBERED_SECONDS)
            while self._errors and self._is_over(now):
                self._errors.popitem(last=False)

    def _is_over(self, now: float) -> bool:
        """Whether the oldest entry must go."""
        _, end = next(iter(self._errors.values()))
        return end <= now or len(self._errors) > MOST_REMEMBERED
