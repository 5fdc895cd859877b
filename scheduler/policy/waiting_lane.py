"""One tenant's waiting sequences: in which order they are served, and what the tenant has had."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from protocol.commands import UNLIMITED
from scheduler.core.sequence import Sequence

TYPICAL_ANSWER = 256
"""Length in tokens that an answer without a limit is assumed to have."""

MAX_USERS = 1024
"""Users of a tenant that are remembered, before those are forgotten that are owed nothing."""

Key = tuple[int, float, int]


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting sequence of a lane."""

    sequence: Sequence
    user: str
    key: Key
    """The place in the lane: by priority, then by the users' fair shares, then by arrival."""
    floor: float
    """The queue's virtual time at the arrival."""
    start: float = -1.0
    """The virtual start among all tenants; the lane sets it."""
    turn: int = -1
    """Decides between equal starts. The lane gives the earliest arrival to its first sequence,
    whichever that is: so other tenants are not passed, nor let pass, by another order of users."""

    @property
    def length(self) -> float:
        """How far the lane's next start lies behind this one."""
        return _cost(self.sequence) / self.sequence.spec.weight


class WaitingLane:
    """The tenant gets one share of the queue, however many users its sequences name.

    lane of a tenant:  | served ... | first | second | third ...   one after the other, by cost
                                    └ start
    order in the lane: the users' shares, as the queue's are the tenants'

    Users can be invented, each of them with a first sequence. So the users' time goes on with what
    the lane is served: a user who waits long has had as much of it as one who is new.

    Another order of the lane moves its sequences among themselves. The sum of the costs before
    another tenant's sequence stays as it is.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._arrivals: list[int] = []
        """Of the entries, rising."""
        self._end = 0.0
        """The virtual end of what was served."""
        self._user_time = 0.0
        """What a user who has waited all the time should have had."""
        self._user_ends: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()
        """Sequences of each user who has any."""

    def add(self, sequence: Sequence, floor: float, arrival: int) -> Iterator[Entry]:
        """Add a sequence. Returns the entries with a new start, so do the next two."""
        user = sequence.spec.user if sequence.spec.tenant else ""
        start = max(self._user_time, self._user_ends.get(user, 0.0))
        self._user_ends[user] = start + _cost(sequence)
        self._waiting[user] += 1
        self._forget_users()
        entry = Entry(sequence, user, (-sequence.spec.priority, start, arrival), floor)
        index = bisect.bisect(self._entries, entry.key, key=lambda one: one.key)
        self._entries.insert(index, entry)
        self._arrivals.append(arrival)
        return self._chained(index)

    def start(self, entry: Entry) -> Iterator[Entry]:
        """A sequence gets a slot. It counts as served before all others of the lane."""
        self._end = self._entries[0].start + entry.length
        self._user_time += _cost(entry.sequence) / len(self._waiting)
        return self.remove(entry, first=0)

    def remove(self, entry: Entry, first: int | None = None) -> Iterator[Entry]:
        """Take a sequence out; those from the index `first` on may move, by default those behind
        it."""
        index = bisect.bisect_left(self._entries, entry.key, key=lambda one: one.key)
        del self._entries[index], self._arrivals[index]
        self._waiting[entry.user] -= 1
        if not self._waiting[entry.user]:
            del self._waiting[entry.user]
        if not self._entries:
            self._user_ends.clear()  # an empty lane owes no user anything
            self._user_time = 0.0
        return self._chained(index if first is None else first)

    def _chained(self, index: int) -> Iterator[Entry]:
        """Let each entry from this index on start where the one before it ends."""
        before = self._entries[index - 1] if index else None
        end = self._end if before is None else before.start + before.length
        for entry, turn in zip(self._entries[index:], self._arrivals[index:], strict=True):
            start = max(entry.floor, end)
            end = start + entry.length
            if (start, turn) != (entry.start, entry.turn):
                entry.start, entry.turn = start, turn
                yield entry

    def _forget_users(self) -> None:
        if len(self._user_ends) > MAX_USERS:
            ends = self._user_ends.items()
            self._user_ends = {user: end for user, end in ends if end > self._user_time}


def _cost(sequence: Sequence) -> int:
    limit = sequence.spec.max_tokens
    return len(sequence.tokens) + (TYPICAL_ANSWER if limit == UNLIMITED else limit)
