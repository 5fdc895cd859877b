"""How often guessed tokens turn out right."""

from __future__ import annotations

from scheduler.core.running_mean import RunningMean

FORGETTING = 0.97
"""Weight that what was seen keeps for each token tried since: some thirty tokens count."""

DOUBT = 0.01
"""Share of the way back to a first belief that each step without guesses goes."""

FAITH = 6.0
"""How many tokens' worth of experience a new sequence takes over from those before it."""


class AcceptanceRate:
    """The chance that a guessed token is right, given that those before it in the draft were.

    A running mean over tokens: of a draft whose first three were right and whose fourth was not,
    four were tried and three succeeded; what came after the fourth tells nothing.
    """

    def __init__(self, rate: float, weight: float = FAITH) -> None:
        self._mean = RunningMean(FORGETTING, rate, weight)

    @property
    def rate(self) -> float:
        """Between 0 and 1."""
        return self._mean.value

    def observe(self, num_draft: int, num_accepted: int) -> None:
        """Learn from a draft of which so many tokens were right."""
        tried = num_accepted + (num_accepted < num_draft)
        if tried > 0:
            self._mean.observe(num_accepted / tried, tried)

    def doubt(self, rate: float) -> None:
        """A step passed without a guess: what was seen is believed a little less, and `rate`
        instead."""
        self._mean.move_towards(rate, DOUBT)

    def expected_tokens(self, length: int) -> float:
        """Tokens that a draft of this length yields on average, with the one that follows the
        right ones: 1 + a + a² + ... (Leviathan, Kalman and Matias, 2023)."""
        a = min(self.rate, 0.999)
        return float((1 - a ** (length + 1)) / (1 - a))
