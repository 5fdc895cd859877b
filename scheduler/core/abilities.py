"""Which changes of the KV cache a model allows."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheAbilities:
    """What the model's memory can do. Recurrent and sliding-window memories can do less."""

    can_trim: bool = True
    """Drop the tail of a sequence, so that a partly matching prefix can be reused."""
    can_copy: bool = True
    """Copy a prefix of one slot's cells to another."""
    can_shift: bool = True
    """Move cells to other positions. It needs `can_trim`."""
    can_checkpoint: bool = False
    """Save what a tail leaves no trace of, and go back to it. For memories that can't trim."""
    max_rollback: int = 0
    """How many of the last tokens can be dropped once, before anything more is computed. For
    memories that can't trim."""
    recomputes_drafts: bool = False
    """Whether dropping tokens of a draft means to compute the right ones again."""
    reads_idle_cells: bool = False
    """Whether each step reads the cells of idle slots too, at a cost that is felt. They are set
    aside then."""

    @property
    def max_draft(self) -> int:
        """Most tokens of a draft, all of which may be wrong."""
        return sys.maxsize if self.can_trim else self.max_rollback
