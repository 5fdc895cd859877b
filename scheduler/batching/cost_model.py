"""What a step costs: seconds by number of rows, measured at the start and kept true."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping

from protocol.messages import StepCosts
from scheduler.batching.micro_batches import MicroBatch
from scheduler.core.running_mean import RunningMean

LEARNING_RATE = 0.05
"""Share of the difference between a step's time and its expected time that is learned."""

MEASURED_STEPS = 8.0
"""Steps that a point measured at the start weighs as much as."""

MAX_RATIO = 4.0
"""Largest ratio of a step's time to its expected time that is learned from. A step that took
longer was disturbed, and counts as if the ratio were this."""


class Curve:
    """Seconds by number of rows: points, and straight lines between them."""

    def __init__(self, points: Mapping[int, float]) -> None:
        """Seconds by rows; at least one point."""
        self._rows = sorted(points)
        self._seconds = [points[rows] for rows in self._rows]
        self._num_seen = [0.0] * len(points)

    @property
    def last(self) -> int:
        """The largest number of rows that is a point."""
        return self._rows[-1]

    def __call__(self, rows: int) -> float:
        """Seconds for `rows` rows. Beyond the last point the slope is that before the point."""
        if rows > self._rows[-1]:
            return self._seconds[-1] + (rows - self._rows[-1]) * self._last_slope()
        return sum(share * self._seconds[index] for index, share in self._beside(rows))

    def _last_slope(self) -> float:
        """Seconds a row. At least a tenth of the mean, because noise can bend the last line."""
        mean = self._seconds[-1] / self._rows[-1]
        if len(self._rows) < 2:
            return mean
        rise = (self._seconds[-1] - self._seconds[-2]) / (self._rows[-1] - self._rows[-2])
        return max(rise, 0.1 * mean)

    def update(self, rows: int, log_ratio: float) -> None:
        """Learn that `rows` rows took e^`log_ratio` times as long as the curve says.

        The points beside `rows` move by their shares. The first few updates move a point more
        than later ones: the rate falls as 1/n down to `LEARNING_RATE`, and a point is updated by
        parts of a step. That is why this is no `RunningMean`.
        """
        for index, share in self._beside(rows):
            rate = max(LEARNING_RATE, 1 / (MEASURED_STEPS + self._num_seen[index]))
            self._seconds[index] *= math.exp(rate * share * log_ratio)
            self._num_seen[index] += share

    def _beside(self, rows: int) -> list[tuple[int, float]]:
        """The indices of the points that give the seconds of `rows` rows, and their shares."""
        index = bisect.bisect_left(self._rows, rows)
        if index == len(self._rows) or index == 0 or self._rows[index] == rows:
            return [(min(index, len(self._rows) - 1), 1.0)]
        low, high = self._rows[index - 1], self._rows[index]
        share = (rows - low) / (high - low)
        return [(index - 1, 1 - share), (index, share)]

    def points(self) -> dict[int, float]:
        """The curve as a table: seconds by rows."""
        return dict(zip(self._rows, self._seconds, strict=True))


class StepCost:
    """Seconds that batches take, from the micro-batches that llama.cpp cuts them into.

    On CPUs the curves have cliffs: kernels take rows by fours or eights, and the remaining rows
    one by one. So two rows can cost more than three times one row.
    """

    def __init__(self, decode: Mapping[int, float], prefill: Mapping[int, float]) -> None:
        """Seconds by rows: with one row of each slot (`decode`), and of one slot (`prefill`)."""
        self._decode = Curve(decode)
        self._prefill = Curve(prefill)
        self._log_slowdown = RunningMean.steady(1 - LEARNING_RATE, 0.0)
        """Log of how much slower the machine is by now than when the curves were measured."""
        self._slowdown = 1.0
        """e^`_log_slowdown`."""
        self.version = 0
        """Rises whenever the costs have changed enough to decide again."""
        self._learned = 0.0
        """Sum of the changes since then, as logs of ratios."""
        self.num_observed = 0
        """Batches that were learned from."""

    def micro_batch_seconds(self, num_slots: int, num_rows: int) -> float:
        """Seconds for `num_rows` rows of `num_slots` slots that are computed at once."""
        return self._slowdown * self._curve(num_slots, num_rows)(num_rows)

    def prompt_seconds(self, num_rows: int) -> float:
        """Seconds for rows of one prompt, in micro-batches of the largest size that was timed."""
        whole, rest = divmod(num_rows, self._prefill.last)
        seconds = self.micro_batch_seconds(1, rest) if rest else 0.0
        return whole * self.micro_batch_seconds(1, self._prefill.last) + seconds

    def _curve(self, num_slots: int, num_rows: int) -> Curve:
        return self._decode if 1 < num_slots == num_rows else self._prefill

    def seconds(self, micro_batches: Iterable[MicroBatch]) -> float:
        """Seconds for a batch."""
        return sum(self.micro_batch_seconds(mb.num_slots, mb.num_rows) for mb in micro_batches)

    def observe(self, micro_batches: list[MicroBatch], seconds: float) -> None:
        """Learn from a batch that took `seconds`."""
        expected = self.seconds(micro_batches)
        if not micro_batches or expected <= 0 or seconds <= 0:
            return
        log_ratio = math.log(min(max(seconds / expected, 1 / MAX_RATIO), MAX_RATIO))
        for mb in micro_batches:
            share = self.micro_batch_seconds(mb.num_slots, mb.num_rows) / expected
            self._curve(mb.num_slots, mb.num_rows).update(mb.num_rows, log_ratio * share)
        self.num_observed += 1
        self._log_slowdown.observe(self._log_slowdown.value + log_ratio)
        self._slowdown = math.exp(self._log_slowdown.value)
        self._note_change(LEARNING_RATE * abs(log_ratio))

    def _note_change(self, log_ratio: float) -> None:
        self._learned += log_ratio
        if self._learned > LEARNING_RATE:
            self._learned = 0.0
            self.version += 1

    def table(self) -> StepCosts:
        """The costs as they are now."""
        by_rows = self._scaled(self._prefill)
        return StepCosts(by_rows, {**self._scaled(self._decode), 1: by_rows[1]})

    def _scaled(self, curve: Curve) -> dict[int, float]:
        return {rows: self._slowdown * seconds for rows, seconds in curve.points().items()}
