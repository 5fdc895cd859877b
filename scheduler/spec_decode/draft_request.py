"""One sequence for which the draft model is asked."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.sampler import Sampler
from scheduler.spec_decode.draft_stopping import DraftStopping


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """A sequence for which the draft model is to guess."""

    slot: int
    tokens: list[int]
    """All of them; the last one is not computed by the large model yet."""
    sampler: Sampler
    n_max: int
    prospect: DraftStopping
    """Asked before each guess."""
