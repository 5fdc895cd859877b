"""What a step costs: seconds by number of rows, measured at the start and kept true."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping

from protocol.messages import StepCosts
from scheduler.batching.micro_batches import MicroBatch
from scheduler.core.running_mean import RunningMean

FOLLOWING = 0.05
"""Share of the difference between what a step took and what was expected that is learned."""

FAITH = 8.0
"""How many running steps a point weighs that was measured at the start."""

MOST_SURPRISE = 4.0
"""A step that took more than so many times what was expected was disturbed, and teaches no more
than that."""


class Curve:
    """Seconds by rows: points, and straight lines between them."""

    def __init__(self, points: Mapping[int, float]) -> None:
        """At least one point."""
        self._rows = sorted(points)
        self._seconds = [points[rows] for rows in self._rows]
        self._num_seen = [0.0] * len(points)

    def __call__(self, rows: int) -> float:
        """Beyond the last point the cost grows as it does between the last two."""
        if rows > self._rows[-1]:
            return self._seconds[-1] + (rows - self._rows[-1]) * self._last_slope()
        return sum(part * self._seconds[index] for index, part in self._beside(rows))

    def _last_slope(self) -> float:
        """Seconds a row; at least a tenth of the mean, for noise can bend the last line."""
        mean = self._seconds[-1] / self._rows[-1]
        if len(self._rows) < 2:
            return mean
        rise = (self._seconds[-1] - self._seconds[-2]) / (self._rows[-1] - self._rows[-2])
        return max(rise, 0.1 * mean)

    def learn(self, rows: int, surprise: float) -> None:
        """The cost at so many rows was e^surprise times what the curve says. The points beside it
        follow as far as they count there, the first few times faster than later on."""
        for index, part in self._beside(rows):
            rate = max(FOLLOWING, 1 / (FAITH + self._num_seen[index]))
            self._seconds[index] *= math.exp(rate * part * surprise)
            self._num_seen[index] += part

    def _beside(self, rows: int) -> list[tuple[int, float]]:
        """The points that say what so many rows cost, and their shares."""
        index = bisect.bisect_left(self._rows, rows)
        if index == len(self._rows) or index == 0 or self._rows[index] == rows:
            return [(min(index, len(self._rows) - 1), 1.0)]
        low, high = self._rows[index - 1], self._rows[index]
        part = (rows - low) / (high - low)
        return [(index - 1, 1 - part), (index, part)]

    def points(self) -> dict[int, float]:
        """The curve as a table."""
        return dict(zip(self._rows, self._seconds, strict=True))


class StepCost:
    """Seconds that batches take, from the pieces that llama.cpp cuts them into.

    On CPUs the curves have cliffs: kernels take rows by fours or eights, and what is left over
    one by one, so that two rows can cost more than three times one.
    """

    def __init__(self, decode: Mapping[int, float], prefill: Mapping[int, float]) -> None:
        """Tables by rows: of as many slots as rows, and of one slot."""
        self._decode = Curve(decode)
        self._prefill = Curve(prefill)
        self._log_slowdown = RunningMean.steady(1 - FOLLOWING, 0.0)
        """Log of how much slower the machine is by now than when the curves were measured."""
        self._scale = 1.0
        """e^`_log_slowdown`."""
        self.version = 0
        """Rises whenever the curves have changed enough to decide anew."""
        self._learned = 0.0
        self.num_observed = 0

    def piece(self, num_slots: int, num_rows: int) -> float:
        """Seconds for rows that are computed at once."""
        return self._scale * self._curve(num_slots, num_rows)(num_rows)

    def _curve(self, num_slots: int, num_rows: int) -> Curve:
        return self._decode if 1 < num_slots == num_rows else self._prefill

    def seconds(self, pieces: Iterable[MicroBatch]) -> float:
        """Seconds for a batch."""
        return sum(self.piece(piece.num_slots, piece.num_rows) for piece in pieces)

    def observe(self, pieces: list[MicroBatch], seconds: float) -> None:
        """Learn from a batch that took so many seconds."""
        expected = self.seconds(pieces)
        if not pieces or expected <= 0 or seconds <= 0:
            return
        surprise = math.log(min(max(seconds / expected, 1 / MOST_SURPRISE), MOST_SURPRISE))
        for piece in pieces:
            share = self.piece(piece.num_slots, piece.num_rows) / expected
            curve = self._curve(piece.num_slots, piece.num_rows)
            curve.learn(piece.num_rows, surprise * share)
        self.num_observed += 1
        self._log_slowdown.observe(self._log_slowdown.value + surprise)
        self._scale = math.exp(self._log_slowdown.value)
        self._learned += abs(FOLLOWING * surprise)
        if self._learned > FOLLOWING:
            self._learned = 0.0
            self.version += 1

    def table(self) -> StepCosts:
        """The curves as they are now."""
        by_rows = self._scaled(self._prefill)
        return StepCosts(by_rows, {**self._scaled(self._decode), 1: by_rows[1]})

    def _scaled(self, curve: Curve) -> dict[int, float]:
        return {rows: self._scale * seconds for rows, seconds in curve.points().items()}
