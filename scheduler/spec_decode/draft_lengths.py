"""How far ahead it pays to guess, from what steps cost and how often guesses are right."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.batching.cost_memo import CostMemo
from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.draft_stats import DraftStats
from scheduler.spec_decode.draft_stopping import BreakEven

MAX_GROUP = 16
"""Sequences that are thought of as one batch at most."""

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Lengths that are thought of."""

MIN_GAIN = 0.03
"""Share by which drafting must be faster than not drafting."""

FOLLOWING = 0.9
"""How often the next guess is taken to be right when it is asked whether to make this one: several
rows may be cheap together where the first alone is not."""


FAIR_RATE = 0.5
"""How often guesses that were worth verifying have to be right for a sequence to be guessed for
wherever others are."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that could be drafted for."""

    acceptance: AcceptanceRate
    most: int
    """Tokens that may be guessed."""
    is_free: bool
    """Whether its guess is there already, so that only verifying costs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whom to guess for, and how far at first sight."""

    lengths: tuple[int, ...]
    """Tokens, for each candidate."""
    rate: float
    """Tokens a second that all sequences together are expected to get."""

    @property
    def count(self) -> int:
        """Sequences that are guessed for."""
        return sum(length > 0 for length in self.lengths)


class DraftLengths:
    """Chooses drafts that yield the most tokens a second, all sequences together.

    With n sequences of which m are drafted for by d tokens each:

        tokens  = (n - m) + sum of 1 + a + ... + a^d over the m
        seconds = batch(m, 1 + d) + batch(n - m, 1) + d · draft(m)

    where batch(n, r) is the cheapest way to compute r rows of each of n sequences, together or
    in several batches. The m are those whose guesses are right most often.

    A draft model's drafts then end where they promise too little (see `Prospect`), so once it is
    known what they come to, that takes the place of a and d.
    """

    def __init__(self, cost: StepCost, draft_cost: StepCost | None = None) -> None:
        """The costs of the model and of the draft model."""
        self._cost = cost
        self._draft_cost = draft_cost
        self._batches: CostMemo[int, list[float]] = CostMemo(cost, draft_cost)
        self._decisions: CostMemo[object, Decision] = CostMemo(cost, draft_cost)
        self._prices: CostMemo[object, BreakEven] = CostMemo(cost, draft_cost)

    def choose(
        self, candidates: Sequence[Candidate], num_others: int, known: DraftStats | None = None
    ) -> Decision:
        """Tokens to guess for each candidate; `num_others` sequences decode without. `known` is
        what drafts of so many sequences come to, if all are the draft model's; they may be as
        long as they like then."""
        key = (num_others, *((round(c.acceptance.rate, 2), c.most, c.is_free) for c in candidates))
        decision = self._decisions.get(key, lambda: self._choose(candidates, num_others))
        if known is None:
            return decision
        # Their prospects end drafts that promise little, so more may try than seem the best.
        lengths = tuple(
            c.most if length > 0 or c.acceptance.rate >= FAIR_RATE else 0
            for c, length in zip(candidates, decision.lengths, strict=True)
        )
        if known.is_known:
            return self._by_experience(lengths, num_others, known)
        return Decision(lengths, decision.rate) if decision.count else decision

    def plain_rate(self, num_sequences: int) -> float:
        """Tokens a second of so many sequences without guesses."""
        return num_sequences / self._batch(num_sequences, 1)

    def price(self, count: int, rate: float, most: int) -> BreakEven:
        """What guesses for each of `count` sequences have to be worth, when time yields `rate`
        tokens a second otherwise."""
        key = (count, round(math.log(rate), 1), most)
        return self._prices.get(key, lambda: self._price(count, rate, most))

    def _price(self, count: int, rate: float, most: int) -> BreakEven:
        per_sequence = rate / count
        steps = [self._batch(count, 1 + length) for length in range(most + 1)]
        guess = self._draft_seconds(count)

        def least_chance(made: int) -> float:
            hopes = itertools.accumulate(FOLLOWING**n for n in range(most - made))
            return min(
                per_sequence * (steps[made + more] - steps[made] + more * guess) / hope
                for more, hope in enumerate(hopes, 1)
            )

        return BreakEven(
            verifying=tuple(per_sequence * (seconds - steps[0]) for seconds in steps),
            going_on=tuple(least_chance(made) for made in range(most)),
        )

    def _by_experience(
        self, lengths: tuple[int, ...], num_others: int, known: DraftStats
    ) -> Decision:
        """Guess for those that may, or for nobody."""
        total = len(lengths) + num_others
        count = sum(length > 0 for length in lengths)
        plain = Decision((0,) * len(lengths), self.plain_rate(total))
        if count == 0:
            return plain
        seconds = (
            self._batch_between(count, 1 + known.verified)
            + self._batch(total - count, 1)
            + known.guessed * self._draft_seconds(count)
        )
        rate = (total + count * known.right) / seconds
        return Decision(lengths, rate) if rate > plain.rate * (1 + MIN_GAIN) else plain

    def _batch_between(self, num_sequences: int, rows: float) -> float:
        """`_batch` for a mean of rows."""
        low = int(rows)
        part = rows - low
        lower = self._batch(num_sequences, low)
        return lower if part == 0 else lower + part * (self._batch(num_sequences, low + 1) - lower)

    def _choose(self, candidates: Sequence[Candidate], num_others: int) -> Decision:
        order = sorted(
            range(len(candidates)), key=lambda i: candidates[i].acceptance.rate, reverse=True
        )
        total = len(candidates) + num_others
        best_rate = self.plain_rate(total) * (1 + MIN_GAIN)
        best = (0, 0)
        counts = range(1, len(order) + 1) if len(order) <= MAX_GROUP else (len(order),)
        for count in counts:
            chosen = [candidates[i] for i in order[:count]]
            num_drafting = sum(not candidate.is_free for candidate in chosen)
            seconds_each = self._draft_seconds(num_drafting)
            plain_seconds = self._batch(total - count, 1)
            for length in _up_to(max(c.most for c in chosen)):
                tokens = (
                    total
                    - count
                    + sum(c.acceptance.expected_tokens(min(length, c.most)) for c in chosen)
                )
                seconds = self._batch(count, 1 + length) + plain_seconds + length * seconds_each
                if tokens > best_rate * seconds:
                    best_rate, best = tokens / seconds, (count, length)
        lengths = [0] * len(candidates)
        for i in order[: best[0]]:
            lengths[i] = min(best[1], candidates[i].most)
        return Decision(tuple(lengths), best_rate if best[0] else self.plain_rate(total))

    def _draft_seconds(self, count: int) -> float:
        """For one more token of so many drafts."""
        if count == 0 or self._draft_cost is None:
            return 0.0
        return self._draft_cost.piece(count, count)

    def _batch(self, num_sequences: int, rows: int) -> float:
        """Seconds for so many rows of each of so many sequences, divided as is cheapest."""
        known = self._batches.get(rows, lambda: [0.0])
        for count in range(len(known), num_sequences + 1):
            sizes = range(1, count + 1) if count <= MAX_GROUP else (count,)
            known.append(min(self._cost.piece(n, n * rows) + known[count - n] for n in sizes))
        return known[num_sequences]


def _up_to(most: int) -> list[int]:
    return [length for length in LENGTHS if length < most] + [most]
