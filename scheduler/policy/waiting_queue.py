"""The queue of sequences that wait for a slot, in order of service."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from protocol.commands import UNLIMITED
from scheduler.core.sequence import Sequence

TYPICAL_ANSWER = 256
"""Length in tokens that an answer without a limit is assumed to have."""

Rank = tuple[int, int, float, int]


class WaitingQueue:
    """Higher priority first. Within a priority, each tenant gets its fair share.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996). A sequence's virtual start is the
    later of two times: the queue's virtual time, and the virtual end of the tenant's sequence
    before it. The virtual end lies cost / weight after the virtual start; the cost is in tokens. So
    a tenant that floods the queue delays itself, not the others.
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
        """The sequences in order of service; the queue may change meanwhile."""
        return iter([sequence for _, sequence in self._ranked])

    def append(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        spec = sequence.spec
        start = max(self._virtual_time, self._virtual_ends.get(spec.tenant, 0.0))
        self._virtual_ends[spec.tenant] = start + _cost(sequence) / spec.weight
        self._arrivals += 1
        self._insert(sequence, (1, -spec.priority, start, self._arrivals))

    def appendleft(self, sequence: Sequence) -> None:
        """Give a preempted sequence the first place: its tenant has paid for it already."""
        self._returns -= 1
        self._insert(sequence, (0, 0, 0.0, self._returns))

    def start(self, sequence: Sequence) -> None:
        """Remove a sequence that gets a slot, and advance the virtual time to its start."""
        self._virtual_time = max(self._virtual_time, self._ranks[sequence][2])
        self.remove(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence."""
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
