"""What the engine needs of a sequence's sampler."""

from __future__ import annotations

from typing import Protocol

from protocol.events import TokenLogprobs
from scheduler.core.results import Sample


class Sampler(Protocol):
    """The sampling state of one sequence: random numbers, penalties, grammar."""

    @property
    def is_constrained(self) -> bool:
        """Whether `prepare` has something to do."""
        ...

    def prepare(self) -> None:
        """Compute the mask for the next token. It may run in another thread during `decode`."""
        ...

    def sample(self, row: int) -> Sample:
        """Pick a token from row `row` of the last batch's logits, and remember the token.

        Raises `SamplerError`.
        """
        ...

    def score(self, row: int, token: int) -> TokenLogprobs:
        """The log-probability of `token` by row `row` of the last batch's logits.

        Nothing is remembered.
        """
        ...

    def allowed(self, tokens: list[int]) -> int:
        """How many of these tokens, from the first on, the constraint allows to come next."""
        ...

    def close(self) -> None:
        """Free the sampler, which can't be used afterwards."""
        ...
