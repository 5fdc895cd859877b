"""Guessing by looking up where the last tokens stood before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_PLACES = 8
"""Places that are compared."""

MAX_MATCHED = 32
"""A longer match tells nothing more."""

MAX_REMEMBERED = 1 << 20
"""Continuations that the shared memory keeps."""


class Found(NamedTuple):
    """What may follow, and how much of the text before it is the same in both places."""

    tokens: list[int]
    num_matched: int


NOTHING = Found([], 0)


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

    def guess(self, tokens: list[int], length: int) -> Found:
        """Up to `length` tokens that may follow: those of the place before which most is the
        same, of several the latest. `tokens` only ever grows between calls."""
        self._read(tokens)
        if len(tokens) < self._size:
            return NOTHING
        places = self._places(tokens)
        if len(places) < self._min_hits:
            return NOTHING
        num_matched, place = max((_num_equal_before(tokens, place), place) for place in places)
        return Found(tokens[place : place + length], num_matched)

    def _places(self, tokens: list[int]) -> list[int]:
        """Behind the latest runs that are like the last one; at most `MAX_PLACES`."""
        size = self._size
        run = tokens[-size:]
        place = self._last.get(hash(tuple(run)))
        places: list[int] = []
        while place is not None and len(places) < max(MAX_PLACES, self._min_hits):
            if tokens[place - size : place] == run:
                places.append(place)
            place = self._before.get(place)
        return places

    def _read(self, tokens: list[int]) -> None:
        """Index the runs that have a token behind them by now."""
        for end in range(self._num_read, len(tokens)):
            key = hash(tuple(tokens[end - self._size : end]))
            earlier = self._last.get(key)
            if earlier is not None:
                self._before[end] = earlier
            self._last[key] = end
        self._num_read = max(self._num_read, len(tokens))


def _num_equal_before(tokens: list[int], place: int) -> int:
    """How many tokens before `place` are those before the end, at most `MAX_MATCHED`."""
    end = len(tokens)
    count = 0
    while count < min(place, MAX_MATCHED) and tokens[place - 1 - count] == tokens[end - 1 - count]:
        count += 1
    return count


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
