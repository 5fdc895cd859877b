"""The things that policy is about: sequences, slots, and the step that is planned from them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import msgspec

from protocol.commands import UNLIMITED, Submit
from protocol.events import Started, TokenLogprobs
from scheduler.cache_scope import NO_SCOPE, CacheScope
from scheduler.context_shift import Window
from scheduler.tally import Tally
from scheduler.turns import BatchKind

MAX_RUN = 32
"""Tokens that may be appended at once without counting as a prompt."""


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence's share of the KV cache.

    `tokens[:num_tokens]` are the tokens whose keys and values the cells hold. While a sequence
    runs here `tokens` is that sequence's own list, so there is one truth about both; afterwards
    they stay as a prefix that later sequences can reuse.
    """

    id: int
    tokens: list[int] = field(default_factory=list)
    num_tokens: int = 0
    scope: CacheScope = NO_SCOPE
    sequence: Sequence | None = None
    last_used: int = 0
    """The number of the step that freed it, for least-recently-used choices."""
    shifted_from: int | None = None
    """Position from which the cells were computed elsewhere and moved here. They are not what
    computing `tokens` gives, so they serve the sequence that runs here and nobody else."""

    @property
    def is_idle(self) -> bool:
        """Whether no sequence runs here."""
        return self.sequence is None

    @property
    def reusable_tokens(self) -> list[int]:
        """The tokens of the cells that are a prefix as anyone would compute it."""
        count = self.num_tokens if self.shifted_from is None else self.shifted_from
        return self.tokens[: min(count, self.num_tokens)]


@dataclass(slots=True, eq=False)
class Sequence:
    """A prompt and its answer on their way through the engine.

        tokens:  | prompt .................. | answer so far ...... |
        slot:    | num_computed_tokens ................ | uncomputed |
                 | num_cached_tokens | (reused, not computed by us)

    Every step lets the computed count catch up with the token count. A sequence whose last token
    gets computed yields logits, from which the next token is sampled.

    With a context shift, `tokens` are those in the window: what was discarded still counts as
    prompt and answer, but has no cells.
    """

    submit: Submit
    tokens: list[int]
    scope: CacheScope
    plain_kind: BatchKind
    window: Window | None = None
    num_discarded_tokens: int = 0
    slot: Slot | None = None
    num_cached_tokens: int = 0
    was_started: bool = False
    last_turn: int = 0
    """The last step that computed some of its prompt, or else the one before it got its slot."""
    is_whole: bool = False
    """Whether its prompt has to be computed in one step."""

    @classmethod
    def from_submit(cls, submit: Submit, n_ctx: int = 0, *, embeds_whole: bool = False) -> Sequence:
        """A sequence that waits for a slot of `n_ctx` cells."""
        is_whole = submit.embedding and embeds_whole
        if is_whole:
            submit = msgspec.structs.replace(submit, cache_prompt=False)
        shift = submit.context_shift
        window = Window.of(shift, n_ctx) if shift and n_ctx else None
        tokens = [*submit.prompt, *submit.resumed]
        kind = BatchKind(submit.lora)
        sequence = cls(submit, tokens, CacheScope.of(submit), kind, window, is_whole=is_whole)
        if len(submit.prompt) <= n_ctx:
            sequence.discard()
        return sequence

    @property
    def request_id(self) -> int:
        """The id that the API process gave it."""
        return self.submit.request_id

    @property
    def kind(self) -> BatchKind:
        """The kind of batch that can compute what comes next. A prompt of whose embedding the
        last token decides is computed like any other up to there."""
        if self.submit.embedding and (self.is_whole or self.num_uncomputed_tokens == 1):
            return self.plain_kind._replace(is_embedding=True)
        return self.plain_kind

    @property
    def num_computed_tokens(self) -> int:
        """How many of `tokens` are in the cache; none without a slot."""
        return 0 if self.slot is None else self.slot.num_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """What is left to compute before the next token can be sampled."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens that the client sent."""
        return len(self.submit.prompt)

    @property
    def num_generated_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) + self.num_discarded_tokens - len(self.submit.prompt)

    @property
    def is_decoding(self) -> bool:
        """Whether its answer is under way: one sampled token, or a short run of forced ones, is
        all that has to be computed."""
        if self.submit.embedding:
            return False
        return self.num_uncomputed_tokens == 1 or (
            self.num_generated_tokens > 0 and self.num_uncomputed_tokens <= MAX_RUN
        )

    @property
    def reached_max_tokens(self) -> bool:
        """Whether the answer is as long as the client allowed."""
        limit = self.submit.max_tokens
        return limit != UNLIMITED and self.num_generated_tokens >= limit

    @property
    def num_tokens_left(self) -> int:
        """How many more the client allows."""
        limit = self.submit.max_tokens
        return sys.maxsize if limit == UNLIMITED else limit - self.num_generated_tokens

    def discard(self) -> int:
        """Move the window so that the next token fits; returns how many tokens left `tokens`,
        from `window.keep` on."""
        if self.window is None:
            return 0
        total = len(self.tokens) + self.num_discarded_tokens
        count = self.window.num_discarded(total) - self.num_discarded_tokens
        del self.tokens[self.window.keep : self.window.keep + count]
        self.num_discarded_tokens += count
        return count


@dataclass(frozen=True, slots=True)
class CopyPrefix:
    """Give `target` the first `length` cells of `source`; what target held is gone."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Trim:
    """Drop every cell of `slot` from position `length` on."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Shift:
    """Drop the cells of `slot` in [start, stop), and move those behind them to `start`."""

    slot: int
    start: int
    stop: int
    may_be_shared: bool
    """Whether other slots may have some of the cells too."""


@dataclass(frozen=True, slots=True)
class Save:
    """Copy all cells of `slot` to host memory, under the name `prefix`."""

    slot: int
    prefix: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Give `slot` the first `length` cells saved as `prefix`; what it held is gone."""

    prefix: int
    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Free what was saved as `prefix`."""

    prefix: int


CacheEdit = CopyPrefix | Trim | Shift | Save | Restore | Drop


@dataclass(frozen=True, slots=True)
class Chunk:
    """Compute `sequence.tokens[start:stop]` in `slot` in this step."""

    sequence: Sequence
    slot: int
    start: int
    stop: int
    wants_logits: bool
    """Whether a token is to be sampled after the chunk's last one, or its embedding taken."""
    is_decode: bool = False
    """Whether it continues an answer, rather than computing a prompt."""

    max_draft: int = 0
    """How many tokens may be guessed after its last one."""
    draft: tuple[int, ...] = ()
    """Those that were: they are computed too, and their logits tell which were right."""

    @property
    def tokens(self) -> list[int]:
        """What is computed: the rows that the chunk adds to the batch."""
        return [*self.sequence.tokens[self.start : self.stop], *self.draft]

    @property
    def num_tokens(self) -> int:
        """How many rows that is."""
        return self.stop - self.start + len(self.draft)

    @property
    def num_outputs(self) -> int:
        """How many of them, counted from the end, yield logits, or an embedding."""
        if not self.wants_logits:
            return 0
        return self.num_tokens if self.sequence.submit.embedding else 1 + len(self.draft)


@dataclass(frozen=True, slots=True)
class Filler:
    """A row that nobody needs, after the cells of an idle slot."""

    slot: int
    start: int

    @property
    def tokens(self) -> list[int]:
        """Any will do."""
        return [0]

    @property
    def num_outputs(self) -> int:
        """None."""
        return 0


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of the engine: cache edits first, then one batch of chunks, in slot order."""

    started: tuple[Started, ...]
    edits: tuple[CacheEdit, ...]
    chunks: tuple[Chunk, ...]
    tally: Tally = field(default_factory=Tally)
    spare: tuple[Filler, ...] = ()
    """Rows that the step has room for besides, slots rising."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do at all."""
        return not (self.started or self.edits or self.chunks)

    @property
    def num_decode_tokens(self) -> int:
        """Rows that each continue an answer."""
        return sum(chunk.num_tokens for chunk in self.chunks if chunk.is_decode)

    @property
    def num_prefill_tokens(self) -> int:
        """Rows of everything else."""
        return sum(chunk.num_tokens for chunk in self.chunks if not chunk.is_decode)

    def sampled(self) -> Iterator[Chunk]:
        """The chunks after which a token is sampled, in the batch's order."""
        return (chunk for chunk in self.chunks if chunk.wants_logits)

    def with_chunks(self, chunks: tuple[Chunk, ...]) -> Step:
        """The same step once runs have been cut and tokens guessed."""
        return replace(self, chunks=chunks)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled token, with its log-probabilities if they were asked for."""

    token: int
    logprobs: TokenLogprobs | None = None
    forced: tuple[int, ...] = ()
    """Tokens that must follow by the sequence's constraint, and need no sampling."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was sampled after a chunk: at its end, and then behind each guess that was right.

    chunk:    | tokens[start:stop] | draft ......... |
    samples:                     s0  s1  s2            s0 and s1 are what was guessed, s2 isn't
    cells:    | kept .................... | dropped  |
    """

    samples: tuple[Sample, ...]
    num_accepted: int = 0
    """Guesses that were right, each equal to what was sampled or forced there."""

    def tokens(self) -> Iterator[int]:
        """All that the answer grows by, unless it ends before."""
        for sample in self.samples:
            yield sample.token
            yield from sample.forced


@dataclass(frozen=True, slots=True)
class Embedding:
    """What was computed for a chunk whose sequence asks for an embedding."""

    vectors: bytes


@dataclass(frozen=True, slots=True)
class SampleFailed:
    """No token could be sampled for a sequence, which therefore ends."""

    message: str


Result = Verified | Embedding | SampleFailed
"""What came of a chunk that wants logits."""
