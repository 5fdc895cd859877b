"""The prefixes that host memory keeps after they left their slot, and checkpoints of slots. Policy
only: the backend holds the bytes."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.cache_scope import CacheScope
from scheduler.core.state_sizes import StateSizes

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
    is_from_disk: bool = False

    @property
    def num_tokens(self) -> int:
        """How many tokens a sequence saves that begins with all of them."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a memory that can't trim held after `tokens`, besides their cells.

    It takes whatever has these cells and more back to the end of `tokens`: any slot, any number of
    times.
    """

    id: int
    tokens: list[int]
    scope: CacheScope
    size: int
    """Bytes."""

    @property
    def num_tokens(self) -> int:
        """How many tokens a sequence saves that begins with all of them."""
        return len(self.tokens)


HostEntry = CachedPrefix | Checkpoint


class HostCache:
    """At most `capacity` bytes of prefixes and checkpoints. The least recently used goes first."""

    def __init__(self, capacity: int, sizes: StateSizes, max_checkpoints: int = 0) -> None:
        self._capacity = capacity
        self._sizes = sizes
        self._max_checkpoints = max_checkpoints
        self._entries: OrderedDict[int, HostEntry] = OrderedDict()
        self._ids = itertools.count()
        self.size = 0
        self.num_checkpoints = 0
        self.num_changes = 0
        """How often an entry came or went."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[HostEntry]:
        """From the least to the most recently used."""
        return iter(self._entries.values())

    def wants(self, num_tokens: int) -> bool:
        """Whether a prefix of `num_tokens` is worth keeping, and fits into an empty cache."""
        return num_tokens >= MIN_TOKENS and self._sizes.prefix(num_tokens) <= self._capacity

    def wants_checkpoint(self, num_tokens: int) -> bool:
        """Whether a checkpoint after `num_tokens` is worth keeping, and fits."""
        fits = self._sizes.checkpoint(num_tokens) <= self._capacity and self._max_checkpoints > 0
        return num_tokens >= MIN_TOKENS and fits

    @property
    def capacity(self) -> int:
        """Most bytes of all entries together."""
        return self._capacity

    def add(
        self, tokens: list[int], scope: CacheScope, *, is_from_disk: bool = False
    ) -> tuple[CachedPrefix, list[HostEntry]]:
        """Add a prefix that `wants` accepts; returns it, and the entries that gave way."""
        size = self._sizes.prefix(len(tokens))
        prefix = CachedPrefix(next(self._ids), tokens, scope, size, is_from_disk)
        return prefix, self._insert(prefix)

    def add_checkpoint(
        self, tokens: list[int], scope: CacheScope
    ) -> tuple[Checkpoint, list[HostEntry]]:
        """Add a checkpoint that `wants_checkpoint` accepts; returns it, and what gave way."""
        size = self._sizes.checkpoint(len(tokens))
        dropped: list[HostEntry] = []
        if self.num_checkpoints >= self._max_checkpoints:
            oldest = next(e for e in self._entries.values() if isinstance(e, Checkpoint))
            dropped.append(self.remove(oldest))
        checkpoint = Checkpoint(next(self._ids), tokens, scope, size)
        return checkpoint, dropped + self._insert(checkpoint)

    def has_room(self, num_tokens: int, *, is_checkpoint: bool = False) -> bool:
        """Whether an entry of `num_tokens` is wanted, and makes no other one give way."""
        if is_checkpoint:
            size, wants = self._sizes.checkpoint(num_tokens), self.wants_checkpoint(num_tokens)
            wants = wants and self.num_checkpoints < self._max_checkpoints
        else:
            size, wants = self._sizes.prefix(num_tokens), self.wants(num_tokens)
        return wants and self.size + size <= self._capacity

    def get(self, id: int) -> HostEntry | None:
        """The entry of this id, unless it is gone."""
        return self._entries.get(id)

    def make_oldest(self, entry: HostEntry) -> None:
        """Make an entry the least recently used one."""
        self._entries.move_to_end(entry.id, last=False)

    def touch(self, entry: HostEntry) -> None:
        """Make an entry the most recently used one."""
        self._entries.move_to_end(entry.id)

    def clear(self) -> None:
        """Remove everything."""
        self.num_changes += 1
        self._entries.clear()
        self.size = self.num_checkpoints = 0

    def remove(self, entry: HostEntry) -> HostEntry:
        """Remove an entry, and return it."""
        self.num_changes += 1
        del self._entries[entry.id]
        self.size -= entry.size
        self.num_checkpoints -= isinstance(entry, Checkpoint)
        return entry

    def _insert(self, entry: HostEntry) -> list[HostEntry]:
        """Add an entry as the most recently used one; returns what gave way."""
        dropped: list[HostEntry] = []
        while self.size + entry.size > self._capacity:
            dropped.append(self.remove(next(iter(self._entries.values()))))
        self.num_changes += 1
        self._entries[entry.id] = entry
        self.size += entry.size
        self.num_checkpoints += isinstance(entry, Checkpoint)
        return dropped
