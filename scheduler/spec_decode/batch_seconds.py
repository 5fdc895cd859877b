"""Seconds of decode batches and of drafting, by the number of sequences."""

from __future__ import annotations

from scheduler.batching.cost_memo import CostMemo
from scheduler.batching.cost_model import StepCost

MAX_TOGETHER = 16
"""Sequences up to which all ways to divide a batch are tried."""


class BatchSeconds:
    """What it takes to compute equally many rows of each sequence, and to draft one token each."""

    def __init__(
        self, cost: StepCost, draft_cost: StepCost | None, *, recomputes: bool = False
    ) -> None:
        """The costs of the model and of the draft model.

        `recomputes` tells that right tokens are computed again where others of a draft were wrong.
        """
        self._recomputes = recomputes
        self.costs = (cost, draft_cost)
        self._cost = cost
        self._draft_cost = draft_cost
        self._batches: CostMemo[int, list[float]] = CostMemo(*self.costs)
        """By rows of each sequence: seconds by number of sequences, from 0 on."""

    def batch(self, num_sequences: int, rows: int) -> float:
        """Seconds for `rows` rows of each sequence, divided into batches as is cheapest."""
        known = self._batches.get(rows, lambda: [0.0])
        for count in range(len(known), num_sequences + 1):
            sizes = range(1, count + 1) if count <= MAX_TOGETHER else (count,)
            known.append(
                min(
                    self._cost.micro_batch_seconds(size, size * rows) + known[count - size]
                    for size in sizes
                )
            )
        return known[num_sequences]

    def batch_of_mean_rows(self, num_sequences: int, rows: float) -> float:
        """`batch` for a mean number of rows, which may lie between two whole numbers."""
        low = int(rows)
        part = rows - low
        lower = self.batch(num_sequences, low)
        return lower if part == 0 else lower + part * (self.batch(num_sequences, low + 1) - lower)

    def take_back(self, num_sequences: int, num_wrong: float, rows: float) -> float:
        """Seconds for taking wrong draft tokens back.

        Of `num_sequences` sequences, `num_wrong` are expected to have wrong ones. Each of these
        keeps `rows` rows on average.
        """
        if not self._recomputes or num_wrong <= 0:
            return 0.0
        # At least one of the sequences is wrong about as often as the first of them is.
        share = min(num_wrong, 1.0)
        together = min(max(round(num_wrong / share), 1), num_sequences)
        return share * self.batch_of_mean_rows(together, rows)

    def draft_token(self, num_sequences: int) -> float:
        """Seconds for one more draft token of each sequence; 0 without a draft model."""
        if num_sequences == 0 or self._draft_cost is None:
            return 0.0
        return self._draft_cost.micro_batch_seconds(num_sequences, num_sequences)

    def plain_rate(self, num_sequences: int) -> float:
        """Tokens a second of all sequences together, without drafts."""
        return num_sequences / self.batch(num_sequences, 1)
