"""Divides the chunks of a step into batches, or pads them, where that is faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from scheduler.batching.cost_memo import CostMemo
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout, MicroBatch, split_into_micro_batches
from scheduler.batching.padding import Padding, steps_until_deeper
from scheduler.core.step import Chunk, PaddingRow
from scheduler.core.trial_schedule import TrialSchedule

MAX_CHUNKS = 16
"""Chunks up to which a better division is searched. With more chunks the cost curves are smooth,
and the search costs more than it gains. Padding is searched in any case: a gap costs a pass."""

MIN_GAIN = 0.05
"""Share of the time that dividing or padding must save. Both cost some work besides."""

CHANGES_BETWEEN_TRIALS = 200
"""One in this many steps that would be divided or padded is computed as it is. The costs may have
been measured wrong, or may have changed."""

MAX_LOSS = 0.1
"""Share of the time by which computing prompts apart from answers may look slower. The curves were
measured with short sequences: they leave out what a prompt's depth costs the answers beside it."""

Pattern = tuple[tuple[int, int], ...]
"""(slot, rows) of what a batch computes; slots rise."""


class BatchPlan(msgspec.Struct, frozen=True):
    """What is computed at once; slots rise."""

    chunks: Sequence[Chunk]
    pattern: Pattern
    """The padding rows are in it."""
    padding_rows: tuple[PaddingRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Division:
    """A division of consecutive chunks into batches."""

    ends: list[int]
    """Index behind the last chunk of each batch."""
    seconds: float
    """What the batches take together."""


@dataclass(slots=True)
class _Plain:
    """Chunks that were best computed as they are."""

    pattern: Pattern
    padding_rows: Sequence[PaddingRow]
    version: int
    """Of the costs."""
    num_steps: int
    """For how many more steps that holds, if each has one more token of the same sequences."""


class Grouping:
    """Divides steps into batches by what the batches cost."""

    def __init__(self, cost: StepCost | None, layout: Layout) -> None:
        """Without costs, answers are never divided."""
        self._cost = cost
        self._layout = layout
        self._padding = None if cost is None else Padding(cost, layout)
        self._divisions: CostMemo[Pattern, _Division] = CostMemo(cost)
        self._micro_batches: CostMemo[Pattern, list[MicroBatch]] = CostMemo()
        self._trials = TrialSchedule(CHANGES_BETWEEN_TRIALS)
        self._plain: _Plain | None = None

    def batches(
        self,
        chunks: Sequence[Chunk],
        padding_rows: Sequence[PaddingRow] = (),
        *,
        is_repeat: bool = False,
    ) -> list[BatchPlan]:
        """Divide the chunks, whose slots rise, into batches to compute one after the other.

        `padding_rows` are rows that could be added to any batch. `is_repeat` says that the chunks
        are the next token of each chunk of the last call.
        """
        pattern = self._plain_pattern(padding_rows) if is_repeat else None
        if pattern is not None:
            return [BatchPlan(chunks, pattern)]
        self._plain = None
        if self._layout.has_whole_drafts and any(chunk.draft for chunk in chunks):
            groups = self._with_whole_drafts(chunks)
        else:
            groups = self._answers_and_prompts(chunks)
        return [batch for group in groups for batch in self._batches(group, padding_rows)]

    def _plain_pattern(self, padding_rows: Sequence[PaddingRow]) -> Pattern | None:
        """The pattern of chunks that repeat those of the last call, if they are best computed as
        they are because those were."""
        plain = self._plain
        if plain is None or plain.num_steps == 0:
            return None
        plain.num_steps -= 1
        is_same = plain.padding_rows is padding_rows and plain.version == self._version
        return plain.pattern if is_same else None

    @property
    def _version(self) -> int:
        return 0 if self._cost is None else self._cost.version

    def micro_batches(self, batch: BatchPlan) -> list[MicroBatch]:
        """What llama.cpp computes at once of a batch."""
        pattern = batch.pattern
        return self._micro_batches.get(
            pattern, lambda: split_into_micro_batches(pattern, self._layout)
        )

    def _answers_and_prompts(self, chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
        """Prompts apart from answers, unless the further micro-batches cost too much.

        A batch of both begins with a micro-batch that has one row of each slot. In it, attention
        reads as many cells for each row as the deepest slot has. The prompts' other rows are
        micro-batches by themselves in any case.
        """
        answers = [chunk for chunk in chunks if chunk.is_decode]
        prompts = [chunk for chunk in chunks if not chunk.is_decode]
        if self._layout.is_unified or not answers or not prompts:
            return [chunks]
        answers_alone, prompts_alone, together = (
            split_into_micro_batches(_pattern(group), self._layout)
            for group in (answers, prompts, chunks)
        )
        apart = [*answers_alone, *prompts_alone]
        if self._cost is None:
            is_worth_it = len(apart) <= len(together)
        else:
            is_worth_it = self._cost.seconds(apart) <= (1 + MAX_LOSS) * self._cost.seconds(together)
        return [answers, prompts] if is_worth_it else [chunks]

    def _with_whole_drafts(self, chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
        """Batches of which those with drafts are one micro-batch: all chunks, or all answers, or
        else drafts of neighbours."""
        answers = [chunk for chunk in chunks if chunk.is_decode]
        for group in (chunks, answers):
            if self._is_one_micro_batch(group):
                rest = [chunk for chunk in chunks if chunk not in group]
                return [*self._answers_and_prompts(rest), group]
        groups = self._answers_and_prompts([chunk for chunk in chunks if not chunk.draft])
        drafts: list[Sequence[Chunk]] = []
        for chunk in chunks:
            if not chunk.draft:
                continue
            if drafts and self._is_one_micro_batch([*drafts[-1], chunk]):
                drafts[-1] = [*drafts[-1], chunk]
            else:
                drafts.append([chunk])
        return [*groups, *drafts]

    def _is_one_micro_batch(self, chunks: Sequence[Chunk]) -> bool:
        return len(split_into_micro_batches(_pattern(chunks), self._layout)) == 1

    def _batches(
        self, chunks: Sequence[Chunk], padding_rows: Sequence[PaddingRow]
    ) -> list[BatchPlan]:
        if not chunks:
            return []
        pattern = _pattern(chunks)
        if self._cost is None or self._padding is None:
            return [BatchPlan(chunks, pattern)]
        division = self._division(pattern, self._cost)
        padded = self._padding.best(chunks, padding_rows)
        is_padded = padded and padded.seconds < (1 - MIN_GAIN) * division.seconds
        if not (is_padded or len(division.ends) > 1):
            num_steps = steps_until_deeper(chunks)
            self._plain = _Plain(pattern, padding_rows, self._version, num_steps)
            return [BatchPlan(chunks, pattern)]
        if self._trials.is_due():
            return [BatchPlan(chunks, pattern)]
        if padded and is_padded:
            padding = tuple(row for row in padding_rows if row.slot in padded.slots)
            rows = ((row.slot, 1) for row in padding)
            return [BatchPlan(chunks, tuple(sorted([*pattern, *rows])), padding)]
        ends = division.ends
        return [
            BatchPlan(chunks[start:end], pattern[start:end])
            for start, end in zip([0, *ends], ends, strict=False)
        ]

    def _division(self, pattern: Pattern, cost: StepCost) -> _Division:
        return self._divisions.get(pattern, lambda: self._divide(pattern, cost))

    def _divide(self, pattern: Pattern, cost: StepCost) -> _Division:
        """The fastest division, by dynamic programming over the ends of batches."""
        whole = cost.seconds(split_into_micro_batches(pattern, self._layout))
        if len(pattern) > MAX_CHUNKS:
            return _Division([len(pattern)], whole)
        best = [0.0]
        last_start = [0]
        for end in range(1, len(pattern) + 1):
            seconds = [
                best[start]
                + cost.seconds(split_into_micro_batches(pattern[start:end], self._layout))
                for start in range(end)
            ]
            best.append(min(seconds))
            last_start.append(seconds.index(best[-1]))
        if best[-1] > (1 - MIN_GAIN) * whole:
            return _Division([len(pattern)], whole)
        ends = [len(pattern)]
        while last_start[ends[-1]] > 0:
            ends.append(last_start[ends[-1]])
        return _Division(ends[::-1], best[-1])


def _pattern(chunks: Sequence[Chunk]) -> Pattern:
    return tuple([(chunk.slot, chunk.num_tokens) for chunk in chunks])
