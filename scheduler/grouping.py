"""Which chunks of a step are computed together: all of them, or in several batches if that is
faster."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.micro_batches import Layout, cut
from scheduler.sequence import Chunk
from scheduler.step_cost import StepCost

MAX_CHUNKS = 16
"""Beyond so many the curves are smooth, and looking for a better way costs more than it gains."""

MIN_GAIN = 0.05
"""Share of the time that several batches have to save: each one costs some work besides."""

DIVISIONS_BETWEEN_TRIALS = 200
"""So often a step that would be divided is computed at once, in case the costs were measured wrong
or are others by now."""

MAX_LOSS = 0.1
"""Share of the time by which computing prompts apart from answers may look dearer. The curves are
those of short sequences: they don't know what a prompt's depth costs the answers beside it."""

MAX_REMEMBERED = 256
"""Patterns of slots and rows whose best division is remembered."""

Pattern = tuple[tuple[int, int], ...]
"""(slot, rows) of each chunk, slots rising."""


class Grouping:
    """Divides steps into batches by what they cost."""

    def __init__(self, cost: StepCost | None, layout: Layout) -> None:
        """Without costs nothing is ever divided."""
        self._cost = cost
        self._layout = layout
        self._ends: dict[Pattern, list[int]] = {}
        self._version = -1
        self._num_divided = 0

    def batches(self, chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
        """The chunks, slots rising, in batches that are computed one after the other; in each of
        them slots rise."""
        groups = self._answers_and_prompts(chunks)
        return [batch for group in groups for batch in self._divided(group)]

    def _answers_and_prompts(self, chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
        """Prompts apart from answers, unless that takes more pieces than it is worth.

        A batch of both begins with a piece that has one row of everyone, and attention goes over
        as many cells for each of its rows as the deepest slot has. The prompts' other rows are a
        piece by themselves in any case.
        """
        answers = [chunk for chunk in chunks if chunk.is_decode]
        prompts = [chunk for chunk in chunks if not chunk.is_decode]
        if self._layout.is_unified or not answers or not prompts:
            return [chunks]
        pieces = [cut(_pattern(group), self._layout) for group in (answers, prompts, chunks)]
        apart, together = [*pieces[0], *pieces[1]], pieces[2]
        if self._cost is None:
            is_worth_it = len(apart) <= len(together)
        else:
            is_worth_it = self._cost.seconds(apart) <= (1 + MAX_LOSS) * self._cost.seconds(together)
        return [answers, prompts] if is_worth_it else [chunks]

    def _divided(self, chunks: Sequence[Chunk]) -> list[Sequence[Chunk]]:
        if self._cost is None or not 1 < len(chunks) <= MAX_CHUNKS:
            return [chunks] if chunks else []
        pattern = _pattern(chunks)
        if self._version != self._cost.version or len(self._ends) >= MAX_REMEMBERED:
            self._ends.clear()
            self._version = self._cost.version
        ends = self._ends.get(pattern)
        if ends is None:
            ends = self._ends[pattern] = self._divide(pattern, self._cost)
        if len(ends) > 1:
            self._num_divided += 1
            if self._num_divided % DIVISIONS_BETWEEN_TRIALS == 0:
                return [chunks]
        return [chunks[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _divide(self, pattern: Pattern, cost: StepCost) -> list[int]:
        """Where batches end: the shortest way through all divisions of the row of chunks."""
        best = [0.0]
        last_start = [0]
        for end in range(1, len(pattern) + 1):
            ways = [
                best[start] + cost.seconds(cut(pattern[start:end], self._layout))
                for start in range(end)
            ]
            best.append(min(ways))
            last_start.append(ways.index(best[-1]))
        whole = cost.seconds(cut(pattern, self._layout))
        if best[-1] > (1 - MIN_GAIN) * whole:
            return [len(pattern)]
        ends = [len(pattern)]
        while last_start[ends[-1]] > 0:
            ends.append(last_start[ends[-1]])
        return ends[::-1]


def _pattern(chunks: Sequence[Chunk]) -> Pattern:
    return tuple((chunk.slot, chunk.num_tokens) for chunk in chunks)
