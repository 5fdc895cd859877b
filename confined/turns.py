"""Turns that owners take fairly: nobody waits longer because another owner asks more often."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Generic, TypeVar

from confined.work import Work

_T = TypeVar("_T")
_ResultT = TypeVar("_ResultT")


class Crowded(Exception):
    """Too much work of this kind waits already; later there may be room."""


class FairQueue(Generic[_T]):
    """Items by owner. Owners take turns; the items of one owner keep their order."""

    def __init__(self) -> None:
        self._items: dict[str, deque[_T]] = {}
        """The next owner is the first one."""

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def add(self, owner: str, item: _T) -> None:
        """Put an item at the end of its owner's."""
        self._items.setdefault(owner, deque()).append(item)

    def pop(self) -> _T:
        """Take the next item; there must be one."""
        owner = next(iter(self._items))
        items = self._items.pop(owner)
        item = items.popleft()
        if items:
            self._items[owner] = items
        return item

    def pop_where(self, may_come: Callable[[_T], bool]) -> _T | None:
        """Take the first item that may come, in the order of turns; None if none may."""
        for owner, items in self._items.items():
            item = next(filter(may_come, items), None)
            if item is not None:
                self.remove(owner, item)
                if owner in self._items:
                    self._items[owner] = self._items.pop(owner)  # moves to the end
                return item
        return None

    def remove(self, owner: str, item: _T) -> None:
        """Take an item out of the queue; it must be there."""
        items = self._items[owner]
        items.remove(item)
        if not items:
            del self._items[owner]

    def discard(self, owner: str, item: _T) -> None:
        """Take an item out of the queue, if it is there."""
        if item in self._items.get(owner, ()):
            self.remove(owner, item)


class _Ticket:
    """One thread that has a turn or waits for it."""

    def __init__(self) -> None:
        self.has_turn = False
        self.changed = threading.Event()
        """Set when the turn has come, or won't."""

    def grant(self) -> None:
        self.has_turn = True
        self.changed.set()


class Turns:
    """`size` threads at a time have a turn, and the others wait. Thread-safe."""

    def __init__(self, size: int, most: int | None = None) -> None:
        """At most `most` threads have a turn or wait; None is no limit. An owner who has nothing
        here may always come, so that one owner can't lock out the others."""
        self._most = most
        self._lock = threading.Lock()
        self._free = size
        self._waiting: FairQueue[_Ticket] = FairQueue()
        self._present: Counter[str] = Counter()
        """How many threads of each owner have a turn or wait."""

    @property
    def num_waiting(self) -> int:
        """Threads that wait for their turn."""
        with self._lock:
            return len(self._waiting)

    def num_of(self, owner: str) -> int:
        """Threads of an owner that have a turn or wait for it."""
        with self._lock:
            return self._present.get(owner, 0)

    @contextmanager
    def turn(self, work: Work) -> Iterator[None]:
        """Hold a turn for the block. Raises `Crowded`, and `Cancelled` while waiting."""
        ticket = self._come(work.owner)
        try:
            with work.stopped_by(ticket.changed.set):
                ticket.changed.wait()
            yield
        finally:
            self._leave(work.owner, ticket)

    def shared(self, work: Work, call: Callable[[], _ResultT]) -> _ResultT:
        """The result of a function that is called in a turn. Others have the turn while the work
        waits for processes. Raises as `turn` does."""
        with ExitStack() as mine:
            mine.enter_context(self.turn(work))

            @contextmanager
            def aside() -> Iterator[None]:
                mine.close()
                try:
                    yield
                finally:
                    mine.enter_context(self.turn(work))

            work.aside = aside
            return call()

    def _come(self, owner: str) -> _Ticket:
        ticket = _Ticket()
        with self._lock:
            is_full = self._most is not None and self._present.total() >= self._most
            if is_full and self._present[owner]:
                raise Crowded
            self._present[owner] += 1
            if self._free:
                self._free -= 1
                ticket.grant()
            else:
                self._waiting.add(owner, ticket)
        return ticket

    def _leave(self, owner: str, ticket: _Ticket) -> None:
        with self._lock:
            self._present[owner] -= 1
            if not self._present[owner]:
                del self._present[owner]
            if not ticket.has_turn:
                self._waiting.remove(owner, ticket)
            elif self._waiting:
                self._waiting.pop().grant()
            else:
                self._free += 1
