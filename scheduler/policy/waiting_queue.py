"""The queue of sequences without a slot, in the order in which they deserve one."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from protocol.commands import UNLIMITED
from scheduler.core.sequence import Sequence

TYPICAL_ANSWER = 256
"""Tokens that an answer without a limit is assumed to cost."""

Rank = tuple[int, int, float, int]


class WaitingQueue:
    """Higher priority first; among equals, tenants take turns by what they cost.

    The turns are start-time fair queueing (Goyal, Vin and Cheng, 1996): a sequence's virtual
    start is the later of the queue's virtual time and the virtual end of its tenant's sequence
    before it, which lies (cost / weight) after that one's start. A tenant that floods the queue
    thereby waits behind itself, not others behind it.
    """

    def __init__(self) -> None:
        self._ranked: list[tuple[Rank, Sequence]] = []
        self._ranks: dict[Sequence, Rank] = {}
        self._virtual_time = 0.0
        self._virtual_ends: dict[str, float] = {}
        self._arrivals = 0
        self._returns = 0

    def __len__(self) -> int:
        return len(self._ranked)

    def __iter__(self) -> Iterator[Sequence]:
        """In order of service."""
        return iter([sequence for _, sequence in self._ranked])

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._ranks

    def append(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        spec = sequence.spec
        start = max(self._virtual_time, self._virtual_ends.get(spec.tenant, 0.0))
        self._virtual_ends[spec.tenant] = start + _cost(sequence) / spec.weight
        self._arrivals += 1
        self._insert(sequence, (1, -spec.priority, start, self._arrivals))

    def appendleft(self, sequence: Sequence) -> None:
        """Give a preempted sequence the first place: it had its turn already."""
        self._returns -= 1
        self._insert(sequence, (0, 0, 0.0, self._returns))

    def start(self, sequence: Sequence) -> None:
        """Take a sequence out because it gets a slot: its tenant's turn is over."""
        self._virtual_time = max(self._virtual_time, self._ranks[sequence][2])
        self.remove(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out."""
        rank = self._ranks.pop(sequence)
        del self._ranked[bisect.bisect_left(self._ranked, rank, key=lambda item: item[0])]
        if not self._ranked:
            self._virtual_ends.clear()  # an empty queue owes nobody anything
            self._virtual_time = 0.0

    def _insert(self, sequence: Sequence, rank: Rank) -> None:
        self._ranks[sequence] = rank
        bisect.insort(self._ranked, (rank, sequence), key=lambda item: item[0])


def _cost(sequence: Sequence) -> int:
    limit = sequence.spec.max_tokens
    return len(sequence.tokens) + (TYPICAL_ANSWER if limit == UNLIMITED else limit)
