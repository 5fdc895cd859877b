"""What the API process sends to the engine."""

from __future__ import annotations

import enum

import msgspec

from grammars.constraint import Constraint
from protocol.config import EngineConfig
from protocol.sampling import SamplingParams

UNLIMITED = -1
"""As a count of tokens to generate: until the model ends its answer or the context is full."""


LoraSet = tuple[tuple[str, float], ...]
"""The adapters that a sequence is computed with: the digest of each one's content, and its scale.
Sorted, without repetition, and no scale is 0, so that equal sets are equal values."""


class ContextShift(msgspec.Struct, frozen=True, array_like=True):
    """What an answer that outgrows its slot does instead of ending."""

    keep: int
    """Tokens at the beginning that are never discarded."""
    discard: int
    """Tokens after those to discard each time; 0 is half of them."""


class DraftMethod(enum.StrEnum):
    """Who guesses the next tokens; the names are llama-server's."""

    NGRAM_SIMPLE = "ngram-simple"
    """What followed the last tokens where they stood before in the same sequence."""
    NGRAM_MOD = "ngram-mod"
    """What followed them in any sequence of the same salt."""
    MODEL = "draft-simple"
    """The draft model."""


class DraftBounds(msgspec.Struct, frozen=True, array_like=True):
    """Tokens of a draft."""

    n_max: int
    n_min: int = 0
    """Shorter drafts are thrown away."""


class Speculation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one sequence's tokens are guessed ahead, to be verified several at once.

    The engine drafts as far as its measurements say that it pays; these are the bounds.
    """

    methods: tuple[DraftMethod, ...]
    """Asked in this order; the first that has a guess is taken."""
    n_max: int
    """Tokens of a draft, whoever guesses them."""
    n_min: int = 0
    """Shorter drafts are thrown away."""
    p_min: float = 0.0
    """The draft model stops before a token that it gives less probability than this."""
    own_bounds: dict[DraftMethod, DraftBounds] = {}
    """Those of methods for which `n_max` and `n_min` don't hold."""

    def bounds(self, method: DraftMethod) -> DraftBounds:
        """The bounds of a draft by this method."""
        return self.own_bounds.get(method) or DraftBounds(self.n_max, self.n_min)


class Load(msgspec.Struct, frozen=True, tag=True):
    """The first command: load the model. The engine answers `Ready` or `LoadFailed`."""

    config: EngineConfig


class SequenceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one sequence computes and how; every field was validated by the API process."""

    prompt: tuple[int, ...]
    sampling: SamplingParams
    embedding: bool = False
    """Answer with one `EmbeddedEvent` instead of tokens."""
    max_tokens: int = UNLIMITED
    """Tokens of the answer; 0 computes the prompt and generates nothing."""
    context_shift: ContextShift | None = None
    """What happens when the slot is full; None ends the answer there."""
    min_reused_chunk: int = 0
    """Shortest chunk of the prompt, in tokens, whose cells in the slot are moved and reused.

    Moved cells are an approximation. 0 reuses prefixes only.
    """
    constraint: Constraint | None = None
    lora: LoraSet = ()
    cache_prompt: bool = True
    cache_salt: str = ""
    """Sequences share prefixes only if they have the same salt and the same adapters."""
    slot: int | None = None
    """Run in this slot and no other."""
    tenant: str = ""
    """Whose sequence this is; tenants share the queue fairly."""
    weight: float = 1.0
    """A tenant of weight 2 gets twice the share of a tenant of weight 1; above 0."""
    priority: int = 0
    """Higher ones go first, whoever waits."""
    report_progress: bool = False
    speculation: Speculation | None = None
    """None computes one token at a time."""


class AddRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Start one sequence. The engine answers with events and exactly one `Finished`."""

    request_id: int
    spec: SequenceSpec
    resumed: list[int] = []
    """Tokens of the answer that an earlier engine produced; `max_tokens` counts them too."""
    num_requests_being_read: int = 0
    """Requests that the API process was reading when it sent this one; they may follow at once."""


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Stop these sequences; unknown ids (they may have just finished) are no error."""

    request_ids: list[int]


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Ask for one `SlotReport`."""

    query_id: int


class SaveSlot(msgspec.Struct, frozen=True, tag=True):
    """Write what an idle slot holds to a file. Like the two that follow it is answered by one
    `SlotChanged` or `SlotRefused`."""

    query_id: int
    slot: int
    path: str


class RestoreSlot(msgspec.Struct, frozen=True, tag=True):
    """Put into an idle slot what a file holds that `SaveSlot` wrote."""

    query_id: int
    slot: int
    path: str


class EraseSlot(msgspec.Struct, frozen=True, tag=True):
    """Empty an idle slot; what host memory has of it stays."""

    query_id: int
    slot: int


SlotCommand = SaveSlot | RestoreSlot | EraseSlot


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """End the process once this message is read, and prefixes are saved to disk if that is on."""


Command = Load | AddRequest | Abort | Inspect | SlotCommand | Shutdown
