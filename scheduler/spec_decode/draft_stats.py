"""What drafts of a draft model have come to, by how many sequences were decoding."""

from __future__ import annotations

from dataclasses import dataclass

FORGETTING = 0.98
"""Weight that what was seen keeps for each draft since: some fifty drafts count."""

DOUBT = 0.01
"""Share of its weight that experience loses with each step without a draft."""

FEWEST = 8.0
"""Drafts that make an experience."""


@dataclass(slots=True)
class DraftStats:
    """Running means over drafts, those included of which nothing was worth verifying."""

    weight: float = 0.0
    _guessed: float = 0.0
    _verified: float = 0.0
    _right: float = 0.0

    def observe(self, num_guessed: int, num_verified: int, num_right: int) -> None:
        """One more draft."""
        self.weight = FORGETTING * self.weight + 1
        self._guessed = FORGETTING * self._guessed + num_guessed
        self._verified = FORGETTING * self._verified + num_verified
        self._right = FORGETTING * self._right + num_right

    def doubt(self) -> None:
        """A step passed without a draft: after enough of them this is no experience any more."""
        keep = 1 - DOUBT
        self.weight *= keep
        self._guessed *= keep
        self._verified *= keep
        self._right *= keep

    @property
    def is_known(self) -> bool:
        """Whether there were enough drafts."""
        return self.weight >= FEWEST

    @property
    def guessed(self) -> float:
        """Tokens that the draft model computed, per draft."""
        return self._guessed / self.weight

    @property
    def verified(self) -> float:
        """Tokens that the model was given to verify, per draft."""
        return self._verified / self.weight

    @property
    def right(self) -> float:
        """Tokens that were right, per draft."""
        return self._right / self.weight
