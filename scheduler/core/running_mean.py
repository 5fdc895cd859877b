"""An exponential mean: what was observed lately counts more than what was observed long ago."""

from __future__ import annotations


class RunningMean:
    """The weighted mean of all observations, in the unit of the observations.

    Whenever observations of weight w are added, everything before them is multiplied by
    `decay ** w`. So an observation counts half after log(1/2) / log(decay) units of weight, and
    the weight of everything together tends to 1 / (1 - decay).
    """

    __slots__ = ("_decay", "value", "weight")

    def __init__(self, decay: float, value: float = 0.0, weight: float = 0.0) -> None:
        """`decay` is between 0 and 1. `value` counts as if `weight` observations had shown it."""
        self._decay = decay
        self.value = value
        self.weight = weight

    @classmethod
    def steady(cls, decay: float, value: float) -> RunningMean:
        """A mean that takes `value` for long experience: each observation counts 1 - decay."""
        return cls(decay, value, 1 / (1 - decay))

    def observe(self, value: float, weight: float = 1.0) -> None:
        """Add observations of this mean and this weight, which is above 0."""
        self.weight = self.weight * self._decay**weight + weight
        self.value += weight / self.weight * (value - self.value)

    def move_towards(self, value: float, share: float) -> None:
        """Go this share (0 to 1) of the way to `value`; the weight stays."""
        self.value += share * (value - self.value)

    def fade(self, share: float) -> None:
        """Lose this share (0 to 1) of the weight; the mean stays."""
        self.weight *= 1 - share
