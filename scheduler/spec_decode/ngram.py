"""N-gram drafting: the draft is what followed the last tokens where they stood before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_PLACES = 8
"""Earlier places that are compared."""

MAX_MATCHED = 32
"""Tokens of a match that are counted. A longer match tells nothing more."""

MAX_SHARED = 1 << 20
"""Next tokens that the shared n-grams keep."""


class NgramDraft(NamedTuple):
    """A draft, and how well its place matches the end of the sequence."""

    tokens: list[int]
    num_matched: int
    """Tokens before the place that are the same as those at the end, at most `MAX_MATCHED`."""


NO_DRAFT = NgramDraft([], 0)


class SequenceNgrams:
    """The n-grams of one sequence, and what followed them.

    `_last[hash]` is the position behind the latest occurrence of an n-gram of `size` tokens.
    `_before` leads from there to the occurrence before. Tokens are compared before they are used,
    so a hash collision only costs a comparison.
    """

    def __init__(self, size: int, min_hits: int = 1) -> None:
        """An n-gram must have occurred `min_hits` times before."""
        self._size = size
        self._min_hits = min_hits
        self._last: dict[int, int] = {}
        self._before: dict[int, int] = {}
        self._num_read = size

    def draft(self, tokens: list[int], length: int) -> NgramDraft:
        """Up to `length` tokens that followed the last n-gram at an earlier place.

        The place with the longest match is taken; of several such places, the latest. `tokens`
        may only grow from call to call.
        """
        self._read(tokens)
        if len(tokens) < self._size:
            return NO_DRAFT
        places = self._places(tokens)
        if len(places) < self._min_hits:
            return NO_DRAFT
        num_matched, place = max((_num_equal_before(tokens, place), place) for place in places)
        return NgramDraft(tokens[place : place + length], num_matched)

    def _places(self, tokens: list[int]) -> list[int]:
        """Positions behind earlier occurrences of the last n-gram, the latest first."""
        size = self._size
        ngram = tokens[-size:]
        place = self._last.get(hash(tuple(ngram)))
        places: list[int] = []
        while place is not None and len(places) < max(MAX_PLACES, self._min_hits):
            if tokens[place - size : place] == ngram:
                places.append(place)
            place = self._before.get(place)
        return places

    def _read(self, tokens: list[int]) -> None:
        """Index the n-grams that by now are followed by a token."""
        for end in range(self._num_read, len(tokens)):
            key = hash(tuple(tokens[end - self._size : end]))
            earlier = self._last.get(key)
            if earlier is not None:
                self._before[end] = earlier
            self._last[key] = end
        self._num_read = max(self._num_read, len(tokens))


def _num_equal_before(tokens: list[int], place: int) -> int:
    """How many tokens before `place` equal those at the end, at most `MAX_MATCHED`."""
    end = len(tokens)
    count = 0
    while count < min(place, MAX_MATCHED) and tokens[place - 1 - count] == tokens[end - 1 - count]:
        count += 1
    return count


class SharedNgrams:
    """What followed n-grams in any sequence of the same scope; the latest occurrence counts.

    Only a hash of the n-gram and its scope is kept, with the next token. So no scope can see what
    another scope wrote.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._next: dict[int, int] = {}

    def read(self, tokens: Sequence[int], start: int, scope: object) -> None:
        """Remember what follows each n-gram that ends at position `start` or later."""
        size, memory = self._size, self._next
        for end in range(max(start, size), len(tokens)):
            key = hash((scope, *tokens[end - size : end]))
            memory.pop(key, None)  # so that the key moves to the end, among the latest
            memory[key] = tokens[end]
        if len(memory) > MAX_SHARED:
            for key in list(memory)[: MAX_SHARED // 4]:
                del memory[key]

    def draft(self, tokens: Sequence[int], length: int, scope: object) -> list[int]:
        """Up to `length` tokens, each the one that followed the n-gram before it."""
        if len(tokens) < self._size:
            return []
        ngram = list(tokens[len(tokens) - self._size :])
        draft: list[int] = []
        while len(draft) < length:
            token = self._next.get(hash((scope, *ngram)))
            if token is None:
                break
            draft.append(token)
            ngram = [*ngram[1:], token]
        return draft
