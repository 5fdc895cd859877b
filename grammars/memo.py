"""A bounded memory of answers about grammars."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_BYTES = 32 << 20
"""Of all answers together; a definition has up to two megabytes."""

_OVERHEAD_BYTES = 256


class Memo:
    """Answers by the hash of their question; the longest unused are forgotten first.
    Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        """With the time at which each is forgotten."""
        self._num_bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """The answer; None if it isn't known."""
        with self._lock:
            answer, end = self._answers.get(key, (None, 0.0))
            if answer is None:
                return None
            if self._clock() >= end:
                self._forget(key)
                return None
            self._answers.move_to_end(key)
            return answer

    def put(self, key: bytes, answer: bytes, seconds: float) -> None:
        """Remember an answer for so long."""
        with self._lock:
            if key in self._answers:
                self._forget(key)
            self._answers[key] = (answer, self._clock() + seconds)
            self._num_bytes += len(answer) + _OVERHEAD_BYTES
            while self._num_bytes > MAX_BYTES:
                self._forget(next(iter(self._answers)))

    def _forget(self, key: bytes) -> None:
        answer, _ = self._answers.pop(key)
        self._num_bytes -= len(answer) + _OVERHEAD_BYTES
