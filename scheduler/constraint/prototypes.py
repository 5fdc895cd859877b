"""The matchers that are kept to be copied, with a bound on the memory of all of them together."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from threading import RLock

from grammars.constraint import Constraint
from scheduler.constraint.matcher import Matcher
from scheduler.constraint.triggers import Triggers

MAX_PROTOTYPES = 16
"""Constraints without users that are kept. One takes about 100 kB; the worst take 50 MB."""

MAX_CHARS = 448 << 10
"""Characters of the definitions of all kept constraints. A character takes up to 160 bytes."""

LARGE_CHARS = 16 << 10
"""Constraints with longer definitions are large: building one takes up to seconds."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class Prototype:
    """A matcher that has accepted nothing."""

    matcher: Matcher
    num_chars: int
    """Of the constraint's definition."""
    num_users: int = 0
    """Matchers that share its automaton."""
    shortest: int | None = None
    """Tokens of a short answer; None until a request asks."""
    ends: dict[str, Triggers] = field(default_factory=dict)
    """By the text that ends thinking: what may follow in the same token."""


class Prototypes:
    """Prototypes by constraint. Thread-safe.

    Those in use are kept as long as they are used, for their memory is needed anyway. Of the
    others, the latest are kept within the bounds.
    """

    def __init__(self) -> None:
        self._kept: dict[Constraint, Prototype] = {}
        """Those used last are at the end."""
        self._lock = RLock()
        """A matcher may die whenever memory is allocated, so also while the lock is held."""
        self._num_freed = 0
        """Characters of the definitions of large constraints that were dropped."""

    def has_room(self, constraint: Constraint) -> bool:
        """Whether the large constraints that are in use leave room for this one, or share it."""
        with self._lock:
            if constraint in self._kept:
                return True
            used = [
                prototype.num_chars for prototype in [*self._kept.values()] if prototype.num_users
            ]
        return sum(size for size in used if size > LARGE_CHARS) < MAX_CHARS

    def take_freed(self, least: int) -> bool:
        """Whether large prototypes of at least so many characters were dropped since the last call
        that said so."""
        if self._num_freed < least:
            return False
        self._num_freed = 0
        return True

    def get(self, constraint: Constraint) -> Prototype | None:
        """The prototype of a constraint, if it is kept."""
        with self._lock:
            return self._kept.get(constraint)

    def add(self, constraint: Constraint, prototype: Prototype) -> None:
        """Keep a prototype, and drop others if they are too many."""
        with self._lock:
            self._kept[constraint] = prototype
            self._drop()

    def use(self, constraint: Constraint, prototype: Prototype, matcher: Matcher) -> None:
        """Count a matcher as a user for as long as it lives."""
        with self._lock:
            prototype.num_users += 1
            self._kept.pop(constraint, None)
            self._kept[constraint] = prototype  # among the latest
        weakref.finalize(matcher, self._leave, prototype).atexit = False

    def copy(self, prototype: Prototype) -> Matcher:
        """A copy of the prototype's matcher."""
        with self._lock:
            return prototype.matcher.clone()

    def _leave(self, prototype: Prototype) -> None:
        with self._lock:
            prototype.num_users -= 1
            self._drop()

    def _drop(self) -> None:
        """Drop the oldest without users until the bounds hold, but the very latest in no case."""
        kept = [*self._kept.items()]
        unused = [(key, prototype) for key, prototype in kept if not prototype.num_users]
        num_chars = sum(prototype.num_chars for _, prototype in kept)
        for number, (key, prototype) in enumerate(unused):
            is_enough = num_chars <= MAX_CHARS and len(unused) - number <= MAX_PROTOTYPES
            if is_enough or key is kept[-1][0]:
                break
            self._kept.pop(key, None)
            num_chars -= prototype.num_chars
            if prototype.num_chars > LARGE_CHARS:
                self._num_freed += prototype.num_chars
