"""The queue of sequences that wait for a slot, in order of service."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from scheduler.core.sequence import Sequence
from scheduler.policy.waiting_lane import Entry, WaitingLane

Rank = tuple[int, int, float, int]


class WaitingQueue:
    """Higher priority first. Within a priority, each tenant gets its fair share.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996). A sequence's virtual start is the
    later of two times: the queue's virtual time at its arrival, and the virtual end of the tenant's
    sequence before it. The virtual end lies cost / weight after the virtual start; the cost is in
    tokens. So a tenant that floods the queue delays itself, not the others.

    Within a tenant's lane, the users that its requests name share in the same way.
    """

    def __init__(self) -> None:
        self._ranked: list[tuple[Rank, Sequence]] = []
        self._ranks: dict[Sequence, Rank] = {}
        self._entries: dict[Sequence, Entry] = {}
        """All but those that were preempted."""
        self._lanes: dict[str, WaitingLane] = {}
        self._virtual_time = 0.0
        self._arrivals = 0
        self._returns = 0

    def __len__(self) -> int:
        return len(self._ranked)

    def __iter__(self) -> Iterator[Sequence]:
        """The sequences in order of service; the queue may change meanwhile."""
        return iter([sequence for _, sequence in self._ranked])

    def append(self, sequence: Sequence) -> None:
        """Queue a new sequence."""
        lane = self._lanes.setdefault(sequence.spec.tenant, WaitingLane())
        self._arrivals += 1
        self._rank(lane.add(sequence, self._virtual_time, self._arrivals))

    def appendleft(self, sequence: Sequence) -> None:
        """Give a preempted sequence the first place: its tenant has paid for it already."""
        self._returns -= 1
        self._insert(sequence, (0, 0, 0.0, self._returns))

    def start(self, sequence: Sequence) -> None:
        """Remove a sequence that gets a slot, and advance the virtual time to its start."""
        entry = self._entries.get(sequence)
        if entry is not None:
            self._virtual_time = max(self._virtual_time, entry.start)
        self._take_out(sequence, is_served=True)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence."""
        self._take_out(sequence, is_served=False)

    def _take_out(self, sequence: Sequence, *, is_served: bool) -> None:
        self._unrank(sequence)
        entry = self._entries.pop(sequence, None)
        if entry is not None:
            lane = self._lanes[sequence.spec.tenant]
            self._rank(lane.start(entry) if is_served else lane.remove(entry))
        if not self._ranked:
            self._lanes.clear()  # an empty queue owes nobody anything
            self._virtual_time = 0.0

    def _rank(self, moved: Iterable[Entry]) -> None:
        """Give entries the places of their new starts."""
        changed = list(moved)
        # First all leave their old places, which others of them take.
        for entry in changed:
            if entry.sequence in self._entries:
                self._unrank(entry.sequence)
        for entry in changed:
            self._entries[entry.sequence] = entry
            self._insert(entry.sequence, (1, entry.key[0], entry.start, entry.turn))

    def _insert(self, sequence: Sequence, rank: Rank) -> None:
        self._ranks[sequence] = rank
        bisect.insort(self._ranked, (rank, sequence), key=lambda item: item[0])

    def _unrank(self, sequence: Sequence) -> None:
        rank = self._ranks.pop(sequence)
        del self._ranked[bisect.bisect_left(self._ranked, rank, key=lambda item: item[0])]
