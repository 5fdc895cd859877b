"""How far ahead it pays to guess, from what steps cost and how often guesses are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.acceptance import Acceptance
from scheduler.step_cost import StepCost

MAX_GROUP = 16
"""Sequences that are thought of as one batch at most."""

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Lengths that are thought of."""

MAX_REMEMBERED = 1024
"""Decisions that are remembered until the costs change."""

MIN_GAIN = 0.03
"""Share by which drafting must be faster than not drafting."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that could be drafted for."""

    acceptance: Acceptance
    most: int
    """Tokens that may be guessed."""
    is_free: bool
    """Whether its guess is there already, so that only verifying costs."""


class DraftLengths:
    """Chooses drafts that yield the most tokens a second, all sequences together.

    With n sequences of which m are drafted for by d tokens each:

        tokens  = (n - m) + sum of 1 + a + ... + a^d over the m
        seconds = batch(m, 1 + d) + batch(n - m, 1) + d · draft(m)

    where batch(n, r) is the cheapest way to compute r rows of each of n sequences, together or
    in several batches. The m are those whose guesses are right most often.
    """

    def __init__(self, cost: StepCost, draft_cost: StepCost | None = None) -> None:
        """The costs of the model and of the draft model."""
        self._cost = cost
        self._draft_cost = draft_cost
        self._versions = (-1, -1)
        self._batches: dict[int, list[float]] = {}
        self._decisions: dict[object, list[int]] = {}

    def choose(self, candidates: Sequence[Candidate], num_others: int) -> list[int]:
        """Tokens to guess for each candidate; `num_others` sequences decode without."""
        draft_version = -1 if self._draft_cost is None else self._draft_cost.version
        versions = (self._cost.version, draft_version)
        if self._versions != versions or len(self._decisions) > MAX_REMEMBERED:
            self._batches.clear()
            self._decisions.clear()
            self._versions = versions
        key = (num_others, *((round(c.acceptance.rate, 2), c.most, c.is_free) for c in candidates))
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._choose(candidates, num_others)
            self._decisions[key] = decision
        return decision

    def _choose(self, candidates: Sequence[Candidate], num_others: int) -> list[int]:
        order = sorted(
            range(len(candidates)), key=lambda i: candidates[i].acceptance.rate, reverse=True
        )
        total = len(candidates) + num_others
        best_rate = total / self._batch(total, 1) * (1 + MIN_GAIN)
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
        return lengths

    def _draft_seconds(self, count: int) -> float:
        """For one more token of so many drafts."""
        if count == 0 or self._draft_cost is None:
            return 0.0
        return self._draft_cost.piece(count, count)

    def _batch(self, num_sequences: int, rows: int) -> float:
        """Seconds for so many rows of each of so many sequences, divided as is cheapest."""
        known = self._batches.setdefault(rows, [0.0])
        for count in range(len(known), num_sequences + 1):
            sizes = range(1, count + 1) if count <= MAX_GROUP else (count,)
            known.append(min(self._cost.piece(n, n * rows) + known[count - n] for n in sizes))
        return known[num_sequences]


def _up_to(most: int) -> list[int]:
    return [length for length in LENGTHS if length < most] + [most]
