"""Rows that nobody needs, added to a step's decodes where more rows take less time.

Kernels take rows by twos, fours or eights, so that eight can be cheaper than seven, and two than
one. The rows go to idle slots beside the busy ones, and are dropped after the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scheduler.batching.cost_memo import CostMemo
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.step import Chunk, PaddingRow

MAX_PADDING_ROWS = 7
"""Rows that one batch is padded with: from one row to a kernel's eight."""


@dataclass(frozen=True, slots=True)
class _Slots:
    """What a decision depends on."""

    busy: tuple[int, ...]
    spare: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """The best that padding_rows can do for a batch."""

    slots: tuple[int, ...]
    """Where they go, rising."""
    seconds: float
    """What the batch takes with them."""


class Padding:
    """Finds padding_rows by what batches cost."""

    def __init__(self, cost: StepCost, layout: Layout) -> None:
        self._cost = cost
        self._layout = layout
        self._known: CostMemo[_Slots, PaddedBatch | None] = CostMemo(cost)

    def best(
        self, batch: Sequence[Chunk], padding_rows: Sequence[PaddingRow]
    ) -> PaddedBatch | None:
        """The cheapest way to pad a batch, cheaper than not at all or not; None if there is no
        way, as for batches that have more than decodes."""
        if not padding_rows or any(not chunk.is_decode or chunk.num_tokens != 1 for chunk in batch):
            return None
        deepest = max(chunk.stop for chunk in batch)  # attention goes as deep for all rows
        usable = tuple(
            padding_row.slot for padding_row in padding_rows if padding_row.start < deepest
        )
        slots = _Slots(tuple(chunk.slot for chunk in batch), usable)
        return self._known.get(slots, lambda: self._best(slots))

    def _best(self, slots: _Slots) -> PaddedBatch | None:
        return min(self._candidates(slots), key=lambda padded: padded.seconds, default=None)

    def _candidates(self, slots: _Slots) -> Iterator[PaddedBatch]:
        """The nearest spare slot, the two nearest, and so on."""
        first, last = slots.busy[0], slots.busy[-1]
        nearest = sorted(slots.spare, key=lambda slot: max(first - slot, slot - last))
        for count in range(1, min(len(nearest), MAX_PADDING_ROWS) + 1):
            rows = [(slot, 1) for slot in sorted((*slots.busy, *nearest[:count]))]
            seconds = self._cost.seconds(split_into_micro_batches(rows, self._layout))
            yield PaddedBatch(tuple(sorted(nearest[:count])), seconds)
