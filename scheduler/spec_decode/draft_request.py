"""One sequence for which the draft model is asked."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.sampler import Sampler
from scheduler.spec_decode.draft_stopping import DraftStopping


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """A sequence for which the draft model is to draft."""

    slot: int
    tokens: list[int]
    """All tokens of the sequence. The model has not computed the last one yet."""
    sampler: Sampler
    """The sequence's sampler; the backend drafts with a copy."""
    n_max: int
    """Most tokens of the draft, at least 1."""
    stopping: DraftStopping
    """Asked before each draft token."""
