"""What a model's memory can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheAbilities:
    """What the model's memory can do; recurrent and sliding-window memories do less."""

    can_trim: bool = True
    """Drop the tail of a sequence, so that a partly matching prefix is of use."""
    can_copy: bool = True
    """Copy a prefix of one slot's cells to another."""
    can_shift: bool = True
    """Move cells to other positions; only where a tail can be dropped."""
