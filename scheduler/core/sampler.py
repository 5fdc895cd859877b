"""The sampling state of one sequence, as the engine sees it."""

from __future__ import annotations

from typing import Protocol

from scheduler.core.results import Sample


class Sampler(Protocol):
    """The sampling state of one sequence: random numbers, penalties, grammar."""

    @property
    def is_constrained(self) -> bool:
        """Whether there is something to `prepare`."""
        ...

    def prepare(self) -> None:
        """Get ready to sample the next token; may run in another thread during `decode`."""
        ...

    def sample(self, row: int) -> Sample:
        """Pick a token from row `row` of the last batch's logits, and remember it."""
        ...

    def allowed(self, tokens: list[int]) -> int:
        """How many of these tokens its constraint lets come next, one after the other."""
        ...

    def close(self) -> None:
        """Free what it holds; it can't be used afterwards."""
        ...
