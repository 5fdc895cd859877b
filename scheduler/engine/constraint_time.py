"""The processor time that the constraint of one sequence takes, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

FREE_SECONDS = 3.0
SECONDS_PER_TOKEN = 0.05
"""A constraint may take this long, and this long more for each token of the answer."""

MAX_SAMPLE_SECONDS = 0.15
"""Accepting a token, which stops everybody, may take this long. The largest schemas take 0.05 s."""

SLOW_SECONDS = 0.005
"""A constraint is slow if a mask, or the sampling of a token, takes longer."""

CHEAP_SECONDS = 0.001
CHEAP_MASKS = 3
"""Masks are cheap if so many were computed, and none took longer than so long."""

DECAY = 0.5
"""By how much the memory of a slow mask fades with each cheaper one."""


@dataclass(slots=True)
class ConstraintTime:
    """What a constraint has taken so far, in seconds."""

    seconds: float = 0.0
    num_samples: int = 0
    num_masks: int = 0
    slowest_mask: float = 0.0
    recent_mask: float = 0.0
    recent_sample: float = 0.0

    def add_mask(self, seconds: float) -> None:
        """Count the computing of a mask."""
        self.seconds += seconds
        self.num_masks += 1
        self.slowest_mask = max(seconds, self.slowest_mask)
        self.recent_mask = max(seconds, self.recent_mask * DECAY)

    def add_sample(self, seconds: float) -> None:
        """Count the sampling of a token, with what the constraint does before and after."""
        self.seconds += seconds
        self.num_samples += 1
        self.recent_sample = max(seconds, self.recent_sample * DECAY)

    @property
    def has_cheap_masks(self) -> bool:
        """Whether the next mask very likely takes less than handing it to another thread."""
        return self.num_masks >= CHEAP_MASKS and self.slowest_mask < CHEAP_SECONDS

    @property
    def has_slow_masks(self) -> bool:
        """Whether the next mask is likely slow."""
        return self.recent_mask > SLOW_SECONDS

    @property
    def has_slow_samples(self) -> bool:
        """Whether sampling the next token likely keeps the engine's thread for long."""
        return self.recent_sample > SLOW_SECONDS

    @property
    def complaint(self) -> str:
        """Why the sequence has to end; empty as long as the constraint is within its bounds."""
        if self.recent_sample > MAX_SAMPLE_SECONDS:
            took = f"accepting one token took {self.recent_sample:.2f} s of processor time"
            most = f"{MAX_SAMPLE_SECONDS} s"
        elif self.seconds > FREE_SECONDS + SECONDS_PER_TOKEN * self.num_samples:
            took = "finding out which tokens may come next took "
            took += f"{self.seconds:.1f} s of processor time for {self.num_samples} tokens"
            most = f"{FREE_SECONDS:.0f} s, and {SECONDS_PER_TOKEN} s for each token,"
        else:
            return ""
        return (
            "the constraint of the answer (grammar, json_schema, response_format, "
            f"structured_outputs or tools) is too slow: {took}; {most} is the most; "
            "ambiguous rules, which derive the same text in many ways, are the usual reason"
        )
