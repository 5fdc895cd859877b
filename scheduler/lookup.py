"""Guessing by looking up where the last tokens stood before."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REMEMBERED = 1 << 20
"""Continuations that the shared memory keeps."""


class SequenceLookup:
    """What followed the last tokens where they stood before in the same sequence.

    `_last[gram]` is the position behind the latest occurrence of a run of `size` tokens, and
    `_before` leads from there to the one before it. Runs are kept by their hash; what is found is
    compared, so a collision costs a look and nothing else.
    """

    def __init__(self, size: int, min_hits: int = 1) -> None:
        self._size = size
        self._min_hits = min_hits
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._num_read = size

    def guess(self, tokens: Sequence[int], length: int) -> list[int]:
        """Up to `length` tokens that may follow; `tokens` only ever grows between calls."""
        self._read(tokens)
        end = len(tokens)
        if end < self._size:
            return []
        key = tokens[end - self._size :]
        found = self._last.get(hash(tuple(key)))
        hits: list[int] = []
        while found is not None and len(hits) < self._min_hits:
            if tokens[found - self._size : found] == key:
                hits.append(found)
            found = self._before.get(found)
        if len(hits) < self._min_hits:
            return []
        return list(tokens[hits[0] : hits[0] + length])

    def _read(self, tokens: Sequence[int]) -> None:
        """Index the runs that have a token behind them by now."""
        for end in range(self._num_read, len(tokens)):
            key = hash(tuple(tokens[end - self._size : end]))
            earlier = self._last.get(key)
            if earlier is not None:
                self._before[end] = earlier
            self._last[key] = end
        self._num_read = max(self._num_read, len(tokens))


class SharedLookup:
    """What followed the last tokens in any sequence of the same scope, the latest first.

    It holds no text, only the next token for the hash of a run and its scope, so that one scope
    can't see what another wrote.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._next: dict[int, int] = {}

    def read(self, tokens: Sequence[int], start: int, scope: object) -> None:
        """Remember what follows each run that ends at or behind `start`."""
        size, memory = self._size, self._next
        for end in range(max(start, size), len(tokens)):
            key = hash((scope, *tokens[end - size : end]))
            memory.pop(key, None)  # to the end, among the latest
            memory[key] = tokens[end]
        if len(memory) > MAX_REMEMBERED:
            for key in list(memory)[: MAX_REMEMBERED // 4]:
                del memory[key]

    def guess(self, tokens: Sequence[int], length: int, scope: object) -> list[int]:
        """Up to `length` tokens that may follow."""
        if len(tokens) < self._size:
            return []
        run = list(tokens[len(tokens) - self._size :])
        guessed: list[int] = []
        while len(guessed) < length:
            token = self._next.get(hash((scope, *run)))
            if token is None:
                break
            guessed.append(token)
            run = [*run[1:], token]
        return guessed
