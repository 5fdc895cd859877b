"""Counts of one step that its chunks don't show."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.cache_lookup import CacheLookup, CacheResult, CacheTier


@dataclass(slots=True)
class StepCounters:
    """Counts of one step, for metrics."""

    num_preempted: int = 0
    """Sequences that lost their slot."""
    num_looked_up_tokens: int = 0
    """Prompt tokens of the sequences that started."""
    saved_tokens: dict[CacheTier, int] = field(default_factory=dict)
    """How many of those tokens the cache had, by where it had them."""
    lookups: dict[CacheResult, int] = field(default_factory=dict)
    """Sequences that started, by what the search of the cache came to."""
    num_drafts: int = 0
    num_draft_tokens: int = 0
    accepted_by_position: list[int] = field(default_factory=list)
    """How many drafts were right at their first token, at their first two, and so on."""

    def drafted(self, num_tokens: int, num_accepted: int) -> None:
        """Count a draft of `num_tokens` tokens; the first `num_accepted` were right."""
        self.num_drafts += 1
        self.num_draft_tokens += num_tokens
        counts = self.accepted_by_position
        counts += [0] * (num_accepted - len(counts))
        for position in range(num_accepted):
            counts[position] += 1

    def looked_up(self, num_tokens: int, lookup: CacheLookup) -> None:
        """Count a search of the cache for `num_tokens` prompt tokens."""
        self.num_looked_up_tokens += num_tokens
        self.lookups[lookup.result] = self.lookups.get(lookup.result, 0) + 1
        if lookup.num_reused:
            saved = self.saved_tokens.get(lookup.tier, 0)
            self.saved_tokens[lookup.tier] = saved + lookup.num_reused
