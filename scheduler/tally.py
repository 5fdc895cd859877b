"""What planning a step did that its batch doesn't show."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.protocol import CacheTier


@dataclass(slots=True)
class Tally:
    """Counts of one step."""

    num_preempted: int = 0
    num_looked_up_tokens: int = 0
    saved_tokens: dict[CacheTier, int] = field(default_factory=dict)

    def looked_up(self, num_tokens: int, num_saved: int, tier: CacheTier) -> None:
        """The cache was searched for a prompt of `num_tokens`, and had `num_saved` of them."""
        self.num_looked_up_tokens += num_tokens
        if num_saved:
            self.saved_tokens[tier] = self.saved_tokens.get(tier, 0) + num_saved
