"""The plan of one step, as a value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import msgspec

from protocol.events import Started
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.sequence import Sequence
from scheduler.core.step_counters import StepCounters


class Chunk(msgspec.Struct, frozen=True):
    """Compute `sequence.tokens[start:stop]` in `slot` in this step."""

    sequence: Sequence
    slot: int
    start: int
    stop: int
    wants_logits: bool
    """Whether a token is sampled after the chunk's last token, or the embedding taken."""
    is_decode: bool = False
    """Whether the chunk continues an answer, rather than computing a prompt."""
    max_draft: int = 0
    """How many draft tokens may follow the chunk's last token."""
    draft: tuple[int, ...] = ()
    """The draft tokens. They are computed too, and their logits tell which were right."""
    is_scored: bool = False
    """Whether each of the chunk's rows yields logits, which score the prompt's next token."""

    @property
    def tokens(self) -> list[int]:
        """The token of each row that the chunk adds to the batch."""
        tokens = self.sequence.tokens[self.start : self.stop]
        return [*tokens, *self.draft] if self.draft else tokens

    @property
    def num_tokens(self) -> int:
        """How many rows the chunk adds to the batch."""
        return self.stop - self.start + len(self.draft)

    @property
    def num_outputs(self) -> int:
        """How many of the rows, counted from the last, yield logits or an embedding."""
        if not (self.wants_logits or self.is_scored):
            return 0
        is_of_all = self.is_scored or self.sequence.spec.embedding
        return self.num_tokens if is_of_all else 1 + len(self.draft)

    @property
    def has_result(self) -> bool:
        """Whether computing the chunk leads to more than cells."""
        return self.wants_logits or self.is_scored


class PaddingRow(msgspec.Struct, frozen=True):
    """A row whose result nobody needs, after the cells of an idle slot."""

    slot: int
    start: int

    @property
    def tokens(self) -> list[int]:
        """The value of the token does not matter."""
        return [0]

    @property
    def num_outputs(self) -> int:
        """A padding row yields no logits."""
        return 0


class Step(msgspec.Struct, frozen=True, dict=True):
    """Cache edits first, then chunks in slot order; they may be computed in several batches."""

    started: tuple[Started, ...]
    edits: tuple[CacheEdit, ...]
    chunks: tuple[Chunk, ...]
    counters: StepCounters = msgspec.field(default_factory=StepCounters)
    padding_rows: tuple[PaddingRow, ...] = ()
    """Further rows that the step has room for, in slot order."""
    is_repeat: bool = False
    """Whether this is the step before, a token later, and nothing else is to be done."""

    @cached_property
    def num_decode_tokens(self) -> int:
        """Rows that continue answers, draft tokens included."""
        return sum([chunk.num_tokens for chunk in self.chunks if chunk.is_decode])

    @cached_property
    def num_prefill_tokens(self) -> int:
        """Rows that compute prompts."""
        return sum([chunk.num_tokens for chunk in self.chunks if not chunk.is_decode])

    def sampled(self) -> Iterator[Chunk]:
        """The chunks that get a result, in slot order."""
        return (chunk for chunk in self.chunks if chunk.has_result)

    def with_chunks(self, chunks: tuple[Chunk, ...]) -> Step:
        """The same step with other chunks, as runs are cut and drafts added."""
        return msgspec.structs.replace(self, chunks=chunks)
