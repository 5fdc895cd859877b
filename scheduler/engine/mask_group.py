"""The masks in the making of one constraint, whose sequences have to wait for each other."""

from __future__ import annotations

from collections import deque

from scheduler.engine.mask_threads import Mask


class MaskGroup:
    """Sequences with the same constraint share an automaton, and the automaton has a lock.

    While a mask of one is computed, any other use of the automaton waits, and the whole
    interpreter with it. So the engine's thread leaves the automaton alone until the masks are done.
    """

    def __init__(self) -> None:
        self.num_members = 0
        self.verdict = ""
        """Why no answer can begin; as long as somebody asks, nobody finds that out again."""
        self._masks: deque[tuple[Mask, bool]] = deque()
        """In the order of their start, with whether each is likely slow."""

    def add(self, mask: Mask, *, is_slow: bool) -> None:
        """Note a mask that has been started."""
        self._masks.append((mask, is_slow))

    @property
    def is_busy(self) -> bool:
        """Whether a mask is in the making, also of a sequence that has ended."""
        while self._masks and self._masks[0][0].done():
            self._masks.popleft()
        return bool(self._masks)

    @property
    def pending(self) -> list[Mask]:
        """The masks in the making."""
        return [mask for mask, _ in self._masks if not mask.done()]

    @property
    def is_slow(self) -> bool:
        """Whether one of these masks is likely slow."""
        return any(is_slow for _, is_slow in self._masks)
