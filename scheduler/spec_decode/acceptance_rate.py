"""How often draft tokens are accepted: a running rate, and the rates of several sequences."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from scheduler.core.running_mean import RunningMean

TOKEN_DECAY = 0.97
"""Weight that older tokens keep with each newer token: about thirty tokens count."""

PULL_TO_PRIOR = 0.01
"""How far the rate moves back to its prior in each step without a draft (0 to 1)."""

PRIOR_TOKENS = 6.0
"""Tokens that the prior weighs as much as."""

K = TypeVar("K", bound=Hashable)


class AcceptanceRate:
    """The chance that a draft token is accepted, given that all before it in the draft were.

    A running mean over tokens. If the first three tokens of a draft are accepted and the fourth
    is not, four tokens were tried and three were accepted. The tokens after the fourth tell
    nothing.
    """

    def __init__(self, prior: float, weight: float = PRIOR_TOKENS) -> None:
        """`prior` is a rate between 0 and 1. It counts as much as `weight` tokens."""
        self._mean = RunningMean(TOKEN_DECAY, prior, weight)

    @property
    def rate(self) -> float:
        """Between 0 and 1."""
        return self._mean.value

    def observe(self, num_draft: int, num_accepted: int) -> None:
        """Learn from a draft of `num_draft` tokens whose first `num_accepted` were accepted."""
        tried = num_accepted + (num_accepted < num_draft)
        if tried > 0:
            self._mean.observe(num_accepted / tried, tried)

    def decay_towards(self, prior: float) -> None:
        """Move a little towards `prior`, after a step without a draft."""
        self._mean.move_towards(prior, PULL_TO_PRIOR)

    def expected_tokens(self, length: int) -> float:
        """Tokens that a step with a draft of `length` yields on average.

        The step yields the accepted tokens and one more: 1 + a + a² + ... + a^length
        (Leviathan, Kalman and Matias, 2023).
        """
        a = min(self.rate, 0.999)
        return float((1 - a ** (length + 1)) / (1 - a))


class SharedRates(Generic[K]):
    """Acceptance rates of all sequences together, by some key.

    Each sequence also has rates of its own. They begin at the shared rates of that moment.
    """

    def __init__(self, prior: Callable[[K], float]) -> None:
        """`prior(key)` is the shared rate before any experience, between 0 and 1."""
        self._prior = prior
        self._rates: dict[K, AcceptanceRate] = {}

    def of_sequence(self, own: dict[K, AcceptanceRate], key: K) -> AcceptanceRate:
        """The sequence's own rate, which is put into `own` if the sequence has none yet."""
        if key not in own:
            own[key] = AcceptanceRate(self._shared(key).rate)
        return own[key]

    def observe(
        self, own: dict[K, AcceptanceRate], key: K, num_draft: int, num_accepted: int
    ) -> None:
        """Learn from a draft, or from a part of one, for its sequence and for all together."""
        for acceptance in (own[key], self._shared(key)):
            acceptance.observe(num_draft, num_accepted)

    def decay(self, key: K) -> None:
        """Move the shared rate a little towards its prior, after a step without a draft."""
        self._shared(key).decay_towards(self._prior(key))

    def _shared(self, key: K) -> AcceptanceRate:
        if key not in self._rates:
            self._rates[key] = AcceptanceRate(self._prior(key))
        return self._rates[key]
