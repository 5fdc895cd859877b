"""How one chunk of a step could be drafted for, and what is known of its sequence's drafts."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.commands import DraftMethod, Speculation
from scheduler.core.step import Chunk
from scheduler.core.trial_schedule import TrialSchedule
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.break_even import BreakEven
from scheduler.spec_decode.draft_stats import DraftStats
from scheduler.spec_decode.draft_stopping import DraftStopping
from scheduler.spec_decode.ngram import SequenceNgrams

FIRST_PAUSE = 32
LAST_PAUSE = 1024
"""Steps between two trials of a sequence whose drafts don't pay: doubled each time."""

Source = tuple[DraftMethod, bool]
"""Who drafts, and whether from a long match: each has an acceptance rate of its own."""


@dataclass(frozen=True, slots=True)
class ModelDraft:
    """A draft of the draft model that is being verified."""

    stopping: DraftStopping
    stats: DraftStats
    """Where its outcome is added."""


@dataclass(slots=True)
class SequenceState:
    """What is known of one sequence's drafts."""

    acceptance: dict[Source, AcceptanceRate] = field(default_factory=dict)
    level_acceptance: dict[int, AcceptanceRate] = field(default_factory=dict)
    """Of the draft model's tokens, by its level of confidence."""
    ngrams: SequenceNgrams | None = None
    num_generated: int = 0
    num_discarded: int = 0
    num_shared: int = 0
    """Tokens that the shared n-grams have read."""
    source: Source = (DraftMethod.MODEL, False)
    """Whose draft is being verified."""
    model_draft: ModelDraft | None = None
    """The draft model's latest."""
    is_read: bool = False
    """Whether the draft model has been asked for the sequence before."""
    trials: TrialSchedule = field(default_factory=lambda: TrialSchedule(FIRST_PAUSE, LAST_PAUSE))


@dataclass(slots=True)
class DraftPlan:
    """How one chunk could be drafted for."""

    index: int
    """Where in the step the chunk stands."""
    chunk: Chunk
    speculation: Speculation
    state: SequenceState
    method: DraftMethod
    max_length: int
    """Most tokens of its draft, for an n-gram method those that were found."""
    draft: list[int] = field(default_factory=list)
    is_long_match: bool = False
    length: int = 0
    """Tokens to draft, once that is decided."""
    break_even: BreakEven | None = None
    """For the draft model. None lets its draft be as long as it may be."""
    stopping: DraftStopping | None = None
    """Of the draft model's draft, once it was asked for one."""

    @property
    def source(self) -> Source:
        """Whose acceptance rate matters."""
        return (self.method, self.is_long_match)

    @property
    def is_by_model(self) -> bool:
        """Whether the draft model drafts, which takes time."""
        return self.method == DraftMethod.MODEL

    @property
    def n_min(self) -> int:
        """Shorter drafts are thrown away."""
        return self.speculation.bounds(self.method).n_min
