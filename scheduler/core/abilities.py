"""Which changes of the KV cache a model allows."""

from __future__ import annotations

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
