"""The prefixes that host memory keeps after they left their slot. Policy only: the backend holds
the bytes."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.cache_scope import CacheScope

MIN_TOKENS = 64
"""Shorter prefixes are not kept: computing them takes less time than saving them."""


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """The saved cells of `tokens`. Any number of sequences may start from a copy."""

    id: int
    tokens: list[int]
    scope: CacheScope
    size: int
    """Bytes."""

    @property
    def num_tokens(self) -> int:
        """How many tokens a sequence saves that begins with all of them."""
        return len(self.tokens)


class HostCache:
    """At most `capacity` bytes of prefixes. The least recently used prefix goes first."""

    def __init__(self, capacity: int, cell_bytes: int, state_bytes: int = 0) -> None:
        self._capacity = capacity
        self._cell_bytes = cell_bytes
        self._state_bytes = state_bytes
        self._prefixes: OrderedDict[int, CachedPrefix] = OrderedDict()
        self._ids = itertools.count()
        self.size = 0

    def __len__(self) -> int:
        return len(self._prefixes)

    def __iter__(self) -> Iterator[CachedPrefix]:
        """From the least to the most recently used."""
        return iter(self._prefixes.values())

    def wants(self, num_tokens: int) -> bool:
        """Whether a prefix of `num_tokens` is worth keeping, and fits into an empty cache."""
        return num_tokens >= MIN_TOKENS and self._size(num_tokens) <= self._capacity

    def add(self, tokens: list[int], scope: CacheScope) -> tuple[CachedPrefix, list[CachedPrefix]]:
        """Add a prefix that `wants` accepts; returns it, and the prefixes that gave way."""
        size = self._size(len(tokens))
        dropped: list[CachedPrefix] = []
        while self.size + size > self._capacity:
            dropped.append(self.remove(next(iter(self._prefixes.values()))))
        prefix = CachedPrefix(next(self._ids), tokens, scope, size)
        self._prefixes[prefix.id] = prefix
        self.size += size
        return prefix, dropped

    def add_oldest(self, tokens: list[int], scope: CacheScope) -> CachedPrefix | None:
        """Add a prefix as the least recently used one; None if another would have to give way."""
        size = self._size(len(tokens))
        if not self.wants(len(tokens)) or self.size + size > self._capacity:
            return None
        prefix, _ = self.add(tokens, scope)
        self._prefixes.move_to_end(prefix.id, last=False)
        return prefix

    def _size(self, num_tokens: int) -> int:
        return self._state_bytes + num_tokens * self._cell_bytes

    def touch(self, prefix: CachedPrefix) -> None:
        """Make a prefix the most recently used one."""
        self._prefixes.move_to_end(prefix.id)

    def clear(self) -> None:
        """Remove all prefixes."""
        self._prefixes.clear()
        self.size = 0

    def remove(self, prefix: CachedPrefix) -> CachedPrefix:
        """Remove a prefix, and return it."""
        del self._prefixes[prefix.id]
        self.size -= prefix.size
        return prefix
