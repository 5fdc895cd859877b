"""Confined processes that have to prepare something before they answer questions about it.

A question has two parts: what to prepare, and the rest. A question without the rest only prepares.
Preparing can take longer than all quick answers, but no request steers how long, so its time
doesn't count as the answer's.
"""

from __future__ import annotations

from collections.abc import Callable

from confined.child import Child
from confined.pool import Pace

Question = tuple[bytes, bytes]
"""What to prepare, and the rest, which isn't empty."""

_SIZE_BYTES = 4


def split(question: bytes) -> Question:
    """The two parts of a question, for the child."""
    begin = _SIZE_BYTES
    end = begin + int.from_bytes(question[:begin], "little")
    return question[begin:end], question[end:]


class PreparedChild:
    """One process, and what it has prepared."""

    def __init__(
        self, child: Child, preparing: Pace, is_refusal: Callable[[bytes], bool] = lambda _: False
    ) -> None:
        """`preparing` bounds each preparation. `is_refusal` tells an answer that says that there
        can't be any; such an answer is the answer to the question."""
        self._child = child
        self._preparing = preparing
        self._is_refusal = is_refusal
        self._prepared: set[bytes] = set()

    def start(self) -> None:
        """Start the process, and don't wait for it."""
        self._child.start()

    def close(self) -> None:
        """End the process."""
        self._child.close()
        self._prepared.clear()

    def ask(self, question: Question, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        """The process's answer. Raises `TooSlow` and `Died`."""
        first, rest = question
        head = len(first).to_bytes(_SIZE_BYTES, "little") + first
        try:
            if first not in self._prepared or not rest:
                answer = self._child.ask(
                    head,
                    cpu_seconds=self._preparing.cpu_seconds,
                    wall_seconds=self._preparing.wall_seconds,
                )
                if not rest or self._is_refusal(answer):
                    return answer
                self._prepared.add(first)
            return self._child.ask(head + rest, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)
        except BaseException:
            self._prepared.clear()
            raise
