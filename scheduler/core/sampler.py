"""What the engine needs of a sequence's sampler."""

from __future__ import annotations

from typing import Protocol

from protocol.events import TokenLogprobs
from scheduler.core.results import Sample

HELD = -1
"""The number of the row that a sampler holds."""


class Sampler(Protocol):
    """The sampling state of one sequence: random numbers, penalties, grammar.

    While `prepare` runs in another thread, no other method but `hold` and `close` may be called.
    Samplers of several sequences may `sample` at the same time, unless their constraints share an
    automaton.
    """

    @property
    def is_heavy(self) -> bool:
        """Whether `sample` takes long enough, without the interpreter's lock, for a thread."""
        ...

    @property
    def num_candidates(self) -> int:
        """How many of a row's likeliest tokens `sample` looks at, if it helps to find them for
        several rows together, else 0."""
        ...

    @property
    def is_constrained(self) -> bool:
        """Whether a constraint has a say in the answer."""
        ...

    @property
    def is_replaying(self) -> bool:
        """Whether the constraint has not read all of a resumed answer. `sample` needs that."""
        ...

    def replay(self) -> None:
        """Let the constraint read the next token of a resumed answer, and those that it forces.

        Raises `SamplerError`.
        """
        ...

    @property
    def wants_mask(self) -> bool:
        """Whether the next `sample` will need a mask that is not computed yet."""
        ...

    def prepare(self) -> None:
        """Compute the mask for the next token. It may run in another thread."""
        ...

    def sample(self, row: int) -> Sample | None:
        """Pick a token from row `row` of the last batch's logits, and remember the token.

        `HELD` is the row that `hold` kept. None means that nothing was picked, because `prepare`
        has to compute the mask first. Raises `SamplerError`.
        """
        ...

    def hold(self, row: int) -> None:
        """Keep a copy of a row's logits, to sample from it after the next batch."""
        ...

    def score(self, row: int, token: int) -> TokenLogprobs:
        """The log-probability of `token` by row `row` of the last batch's logits.

        Nothing is remembered.
        """
        ...

    def allowed(self, tokens: list[int]) -> int:
        """How many of these tokens, from the first on, the constraint allows to come next."""
        ...

    def end_thinking(self) -> int | None:
        """Let the next tokens end the thinking.

        Returns the number of tokens so far; None if the answer is not thinking, or its thinking
        has no constraint that could end it.
        """
        ...

    def close(self) -> None:
        """Free the sampler, which can't be used afterwards."""
        ...
