"""Commands: the messages from the API process to the engine."""

from __future__ import annotations

import enum

import msgspec

from grammars.constraint import Constraint
from protocol.config import EngineConfig
from protocol.sampling import SamplingParams

UNLIMITED = -1
"""A number of tokens to generate: until the model ends its answer or the context is full."""

MOST_SHIFTS = 64
"""A slot's worth of tokens costs this many context shifts at most: a shift moves every cell of the
slot, and every other sequence waits for it."""


LoraSet = tuple[tuple[str, float], ...]
"""The adapters of a sequence: the digest of each adapter's content, and its scale. The pairs are
sorted, no digest occurs twice, and no scale is 0. So equal sets are equal values."""


class ContextShift(msgspec.Struct, frozen=True, array_like=True):
    """How an answer continues when its slot is full: the slot forgets its oldest tokens."""

    keep: int
    """Number of tokens at the beginning that are never discarded."""
    discard: int
    """Number of tokens after the kept ones that each shift discards; 0 discards half of them."""


class DraftMethod(enum.StrEnum):
    """A method that drafts the next tokens. The names are llama-server's."""

    NGRAM_SIMPLE = "ngram-simple"
    """The tokens that followed the last tokens earlier in the same sequence."""
    NGRAM_MOD = "ngram-mod"
    """The tokens that followed the last tokens in any sequence of the same tenant and salt."""
    MODEL = "draft-simple"
    """The draft model."""


class DraftBounds(msgspec.Struct, frozen=True, array_like=True):
    """Bounds of a draft's length, in tokens."""

    n_max: int
    n_min: int = 0
    """Shorter drafts are not used."""


class Speculation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens of one sequence are drafted, so that one step verifies several of them.

    The engine chooses the length of each draft by what it has measured, within these bounds.
    """

    methods: tuple[DraftMethod, ...]
    """Asked in this order; the first draft that is found is used."""
    n_max: int
    """Most tokens of a draft, by any method."""
    n_min: int = 0
    """Shorter drafts are not used."""
    p_min: float = 0.0
    """The draft model stops before a token with a probability below this."""
    own_bounds: dict[DraftMethod, DraftBounds] = {}
    """Bounds of methods for which `n_max` and `n_min` don't hold."""

    def bounds(self, method: DraftMethod) -> DraftBounds:
        """The bounds of a draft by `method`."""
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
    """Sequences share prefixes only if they have the same salt and the same adapters. Who the
    request's key may share with is part of the salt."""
    partings: tuple[int, ...] = ()
    """Positions of the prompt where other prompts are likely to part from it."""
    slot: int | None = None
    """Run in this slot and no other."""
    tenant: str = ""
    """Whose sequence this is; tenants share the queue fairly."""
    user: str = ""
    """Whom of the tenant's users the sequence is for; they share the tenant's part of the queue."""
    weight: float = 1.0
    """A tenant of weight 2 gets twice the share of a tenant of weight 1; above 0."""
    priority: int = 0
    """Higher ones go first, whoever waits."""
    report_progress: bool = False
    score_prompt: bool = False
    """Report the log-probability of each prompt token after the first, in `Scored` events. Such a
    sequence reuses no tokens."""
    speculation: Speculation | None = None
    """None computes one token at a time."""


class AddRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Start one sequence. The engine answers with events and exactly one `Finished`."""

    request_id: int
    spec: SequenceSpec
    resumed: list[int] = []
    """Tokens of the answer that an earlier engine produced; `max_tokens` counts them too."""
    thinking_ended_at: int | None = None
    """Tokens of the answer after which `EndThinking` ended its thinking, in an earlier engine."""
    num_requests_being_read: int = 0
    """Requests that the API process was reading when it sent this one; they may follow at once."""


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Stop these sequences. An unknown id is no error, because its sequence may have just ended."""

    request_ids: list[int]


class EndThinking(msgspec.Struct, frozen=True, tag=True):
    """Let an answer end its thinking now. The engine answers with one `ThinkingEnded`."""

    query_id: int
    request_id: int


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Ask for one `SlotReport`."""

    query_id: int
    max_nodes: int = 0
    """Most nodes of the prefix index in the report; 0 leaves the cache out of the report."""


class InspectBlocks(msgspec.Struct, frozen=True, tag=True):
    """Ask for one `BlockReport`. Events that tell of the same state are sent before it."""

    query_id: int


class SaveSlot(msgspec.Struct, frozen=True, tag=True):
    """Write the content of an idle slot to a file. The engine answers each command about a slot
    with one `SlotChanged` or `SlotRefused`."""

    query_id: int
    slot: int
    path: str
    for_llama_cpp: bool = False
    """Whether the file is in llama.cpp's format, which llama-server can restore."""
    cache_salt: str = ""
    """The salt of who asks. A file of llama.cpp has no place for a salt, so it can take only what
    has this one."""


class RestoreSlot(msgspec.Struct, frozen=True, tag=True):
    """Read the content of an idle slot from a file that `SaveSlot` or llama-server wrote."""

    query_id: int
    slot: int
    path: str
    cache_salt: str = ""
    """The salt of who asks, which content without a salt gets. Other content keeps its own."""


class EraseSlot(msgspec.Struct, frozen=True, tag=True):
    """Empty an idle slot. Its prefixes in host memory stay."""

    query_id: int
    slot: int


SlotCommand = SaveSlot | RestoreSlot | EraseSlot


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Stop the engine. It first saves prefixes to `EngineConfig.cache_disk`, if that is set."""


Query = Inspect | InspectBlocks

Command = Load | AddRequest | Abort | EndThinking | Query | SlotCommand | Shutdown
