"""What drafts of a draft model have come to, by how many sequences were decoding."""

from __future__ import annotations

from scheduler.core.running_mean import RunningMean

FORGETTING = 0.98
"""Weight that what was seen keeps for each draft since: some fifty drafts count."""

DOUBT = 0.01
"""Share of its weight that experience loses with each step without a draft."""

FEWEST = 8.0
"""Drafts that make an experience."""


class DraftStats:
    """Running means over drafts, those included of which nothing was worth verifying."""

    def __init__(self) -> None:
        self._guessed = RunningMean(FORGETTING)
        self._verified = RunningMean(FORGETTING)
        self._right = RunningMean(FORGETTING)

    def observe(self, num_guessed: int, num_verified: int, num_right: int) -> None:
        """One more draft."""
        self._guessed.observe(num_guessed)
        self._verified.observe(num_verified)
        self._right.observe(num_right)

    def doubt(self) -> None:
        """A step passed without a draft: after enough of them this is no experience any more."""
        for mean in (self._guessed, self._verified, self._right):
            mean.fade(DOUBT)

    @property
    def is_known(self) -> bool:
        """Whether there were enough drafts."""
        return self._guessed.weight >= FEWEST

    @property
    def guessed(self) -> float:
        """Tokens that the draft model computed, per draft."""
        return self._guessed.value

    @property
    def verified(self) -> float:
        """Tokens that the model was given to verify, per draft."""
        return self._verified.value

    @property
    def right(self) -> float:
        """Tokens that were right, per draft."""
        return self._right.value
