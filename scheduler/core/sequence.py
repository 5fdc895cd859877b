"""Sequences and the slots in which they run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import msgspec

from protocol.cache_lookup import CacheLookup
from protocol.commands import UNLIMITED, AddRequest, SequenceSpec
from protocol.context_window import Window
from scheduler.core.batch_kind import BatchKind
from scheduler.core.cache_scope import NO_SCOPE, CacheScope

MAX_RUN = 32
"""A run of at most this many uncomputed tokens continues an answer; more count as a prompt."""


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence's share of the KV cache.

    The cells hold keys and values of `tokens[:num_tokens]`. While a sequence runs here, `tokens` is
    that sequence's own list. Afterwards the tokens stay, for later sequences to reuse.
    """

    id: int
    tokens: list[int] = field(default_factory=list)
    num_tokens: int = 0
    scope: CacheScope = NO_SCOPE
    sequence: Sequence | None = None
    last_used: int = 0
    """Number of the step in which the slot became idle, for least-recently-used choices."""
    keeps_chunks: bool = False
    """Whether the next request may reuse chunks of an idle slot, which only its cells have."""
    shifted_from: int | None = None
    """Position from which on the cells were computed elsewhere and moved here; None if all are in
    place. Moved cells differ from what computing `tokens` gives, so only the sequence that runs
    here may use them."""

    @property
    def is_idle(self) -> bool:
        """Whether no sequence runs here."""
        return self.sequence is None

    @property
    def reusable_tokens(self) -> list[int]:
        """The tokens whose cells other sequences may use: those that were not moved."""
        count = self.num_tokens if self.shifted_from is None else self.shifted_from
        return self.tokens[: min(count, self.num_tokens)]


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and its answer on their way through the engine.

        tokens:  | prompt .................. | answer so far ...... |
        slot:    | num_computed_tokens ................ | uncomputed |
                 | num_cached_tokens | (reused, not computed by us)

    Every step raises the computed count towards the token count. When the last token is computed,
    it yields logits, from which the next token is sampled.

    With a context shift, `tokens` are those in the window. Discarded tokens have no cells, but
    still count as prompt and answer.
    """

    request_id: int
    """The id from the API process."""
    spec: SequenceSpec
    tokens: list[int]
    scope: CacheScope
    plain_kind: BatchKind
    """The kind of batch that computes all tokens that need no embedding."""
    window: Window | None = None
    num_discarded_tokens: int = 0
    slot: Slot | None = None
    num_cached_tokens: int = 0
    lookup: CacheLookup | None = None
    """What the search of the cache came to when the sequence first got a slot."""
    was_started: bool = False
    is_whole: bool = False
    """Whether the whole prompt has to be computed in one step."""
    is_late: bool = False
    """Whether all tokens are computed, and the next token waits for the constraint's mask."""

    @classmethod
    def of(cls, request: AddRequest, n_ctx: int = 0, *, embeds_whole: bool = False) -> Sequence:
        """A sequence that waits for a slot of `n_ctx` cells. With `embeds_whole` prompts for
        embeddings have to be computed in one step. Reused tokens would yield no scores."""
        spec = request.spec
        is_whole = spec.embedding and embeds_whole
        if is_whole or spec.score_prompt:
            spec = msgspec.structs.replace(spec, cache_prompt=False)
        shift = spec.context_shift
        window = Window.of(shift, n_ctx) if shift and n_ctx else None
        sequence = cls(
            request.request_id,
            spec,
            tokens=[*spec.prompt, *request.resumed],
            scope=CacheScope.of(spec),
            plain_kind=BatchKind(spec.lora),
            window=window,
            is_whole=is_whole,
        )
        if len(spec.prompt) <= n_ctx:
            sequence.discard()
        return sequence

    @property
    def kind(self) -> BatchKind:
        """The kind of batch that can compute what comes next. If only the last token yields the
        embedding, all tokens before it are computed like those of any other prompt."""
        if self.spec.embedding and (self.is_whole or self.num_uncomputed_tokens == 1):
            return self.plain_kind._replace(is_embedding=True)
        return self.plain_kind

    @property
    def num_computed_tokens(self) -> int:
        """How many of `tokens` are in the cache; 0 without a slot."""
        return 0 if self.slot is None else self.slot.num_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """How many of `tokens` are left to compute before the next token can be sampled."""
        slot = self.slot
        return len(self.tokens) - (0 if slot is None else slot.num_tokens)

    @property
    def num_prompt_tokens(self) -> int:
        """Length of the prompt that the client sent."""
        return len(self.spec.prompt)

    @property
    def num_generated_tokens(self) -> int:
        """Length of the answer so far."""
        return len(self.tokens) + self.num_discarded_tokens - len(self.spec.prompt)

    @property
    def is_decoding(self) -> bool:
        """Whether the answer is under way: all that has to be computed is one sampled token, or a
        short run of forced tokens."""
        if self.spec.embedding:
            return False
        count = self.num_uncomputed_tokens
        if count == 1 or self.is_late:
            return True
        return count <= MAX_RUN and self.num_generated_tokens > 0

    @property
    def is_scored(self) -> bool:
        """Whether what is computed next scores tokens of the prompt."""
        if not self.spec.score_prompt or self.spec.embedding:
            return False
        if self.num_generated_tokens or self.num_discarded_tokens:
            return False
        return self.num_computed_tokens < self.num_prompt_tokens - 1

    @property
    def reached_max_tokens(self) -> bool:
        """Whether the answer is as long as the client allowed."""
        limit = self.spec.max_tokens
        return limit != UNLIMITED and self.num_generated_tokens >= limit

    @property
    def num_tokens_left(self) -> int:
        """How many more tokens the client allows."""
        limit = self.spec.max_tokens
        return sys.maxsize if limit == UNLIMITED else limit - self.num_generated_tokens

    def discard(self) -> int:
        """Move the window so that the next token fits.

        Returns how many tokens left `tokens`, from position `window.keep` on.
        """
        if self.window is None:
            return 0
        total = len(self.tokens) + self.num_discarded_tokens
        count = self.window.num_discarded(total) - self.num_discarded_tokens
        del self.tokens[self.window.keep : self.window.keep + count]
        self.num_discarded_tokens += count
        return count
