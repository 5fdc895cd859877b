"""The prefill budget: how many prompt tokens a step may compute while answers are streaming."""

from __future__ import annotations

from scheduler.batching.cost_model import StepCost
from scheduler.core.running_mean import RunningMean

MIN_CHUNK = 64
"""Prompt tokens that every step may compute. Fewer tokens cost almost as much, because each pass
reads all weights. A prompt must also get done on a slow machine."""

MEASURED_CHUNKS = (64, 128, 256, 512)
"""Prompt tokens at which a measured cost curve is read at the start."""

DECODE_DECAY = 0.8
"""Weight that the times of older decode steps keep when a new one is observed."""

PREFILL_DECAY = 0.9
"""Weight that older prefill steps keep when a new one is observed."""


class PrefillCost:
    """The seconds that n prompt tokens add to a step, as a line: overhead + slope · n.

    The line is a least-squares fit over the steps that ran. Older steps count less. The sums of
    squares and products need the means before and after each step. That is why the recursion
    stands here and is no `RunningMean`.
    """

    def __init__(self) -> None:
        self._weight = 0.0
        self._n = self._seconds = 0.0  # weighted means
        self._n_variance = self._covariance = 0.0  # weighted sums of squares and products

    @property
    def is_known(self) -> bool:
        """Whether anything was observed."""
        return self._weight > 0

    def observe(self, n: int, seconds: float) -> None:
        """Learn from `n` prompt tokens that took `seconds` on top of the step's decoding."""
        self._weight = self._weight * PREFILL_DECAY + 1
        share = 1 / self._weight
        away = n - self._n
        self._n += share * away
        self._n_variance = PREFILL_DECAY * self._n_variance + away * (n - self._n)
        late = seconds - self._seconds
        self._covariance = PREFILL_DECAY * self._covariance + (n - self._n) * late
        self._seconds += share * late

    def tokens(self, seconds: float) -> int:
        """How many prompt tokens fit into `seconds`; may be below zero."""
        slope = self._slope()
        overhead = self._seconds - slope * self._n
        return int((seconds - overhead) / slope)

    def _slope(self) -> float:
        """Seconds a token, between a tenth of the mean and the mean.

        If all steps had the same number of tokens, or noise has bent the line too far, the
        overhead counts as zero.
        """
        mean = max(self._seconds, 1e-9) / max(self._n, 1.0)
        if self._n_variance <= 0:
            return mean
        return min(max(self._covariance / self._n_variance, 0.1 * mean), mean)


class PrefillBudget:
    """Sizes prefill so that a step takes about `itl_target` seconds.

    A step may always take twice as long as decoding alone. With less, the prompts would lose more
    than the answers gain. If k times as many sequences wait for their first token as for their
    next one, prefill may take k times as long: a pause for one stream is better than many prompts
    computed in slices.

    The cost of prefill is the cost measured at the start, until steps have run. If nothing was
    measured, `initial` tokens are allowed at first.
    """

    def __init__(
        self, itl_target: float, n_batch: int, initial: int = 256, cost: StepCost | None = None
    ) -> None:
        """`itl_target`: seconds between two tokens of an answer. `n_batch`: rows of a batch.
        `initial`: prompt tokens."""
        self._target = itl_target
        self._n_batch = n_batch
        self._initial = initial
        self._decode_mean: RunningMean | None = None
        """Seconds of a step that only decodes; None before the first one."""
        self._cost = PrefillCost()
        if cost is not None:
            for rows in MEASURED_CHUNKS:
                self._cost.observe(rows, cost.micro_batch_seconds(1, rows))

    def tokens(self, num_decoding: int, urgency: float = 1.0) -> int:
        """Prompt tokens for the next step, which also has `num_decoding` tokens of answers.

        `urgency` is a ratio: sequences that wait for their first token, to those that have one.
        """
        room = self._n_batch - num_decoding
        if num_decoding == 0:
            return room
        patience = max(urgency, 1.0)
        if not self._cost.is_known:
            return min(int(self._initial * patience), room)
        seconds = max(self._target - self._decode_seconds, self._decode_seconds) * patience
        return min(room, max(MIN_CHUNK, self._cost.tokens(seconds)))

    def observe(self, num_decode: int, num_prefill: int, seconds: float) -> None:
        """Learn from a step of `num_decode` and `num_prefill` tokens that took `seconds`."""
        if num_prefill == 0:
            self._observe_decode(seconds)
        else:
            decoding = self._decode_seconds if num_decode else 0.0
            self._cost.observe(num_prefill, max(seconds - decoding, 0.1 * seconds))

    def _observe_decode(self, seconds: float) -> None:
        if self._decode_mean is None:
            self._decode_mean = RunningMean.steady(DECODE_DECAY, seconds)
        else:
            self._decode_mean.observe(seconds)

    @property
    def _decode_seconds(self) -> float:
        return 0.0 if self._decode_mean is None else self._decode_mean.value
