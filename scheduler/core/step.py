"""What one step computes, as a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from protocol.events import Started
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.sequence import Sequence
from scheduler.core.step_counters import StepCounters


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
        return self.num_tokens if self.sequence.spec.embedding else 1 + len(self.draft)


@dataclass(frozen=True, slots=True)
class PaddingRow:
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
    counters: StepCounters = field(default_factory=StepCounters)
    padding_rows: tuple[PaddingRow, ...] = ()
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
