"""Which sequences are drafted for, and how far, from step costs and acceptance rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.batching.cost_memo import CostMemo
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.batch_seconds import MAX_TOGETHER, BatchSeconds
from scheduler.spec_decode.draft_stats import DraftStats

LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64)
"""Lengths of drafts that are compared."""

MIN_GAIN = 0.03
"""Share by which drafting must be faster than not drafting."""

MIN_ACCEPTANCE = 0.5
"""Acceptance rate from which a sequence is drafted for wherever others are. The rate is that of
tokens that were worth verifying."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that could be drafted for."""

    acceptance: AcceptanceRate
    max_length: int
    """Most tokens of its draft."""
    is_free: bool
    """Whether its draft is there already, so that only verifying costs."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whom to draft for, and how far at most."""

    lengths: tuple[int, ...]
    """Tokens, for each candidate."""
    rate: float
    """Tokens a second that all sequences together are expected to get."""

    @property
    def count(self) -> int:
        """Sequences that are drafted for."""
        return sum(length > 0 for length in self.lengths)


class DraftLengths:
    """Chooses drafts that yield the most tokens a second, all sequences together.

    With n sequences of which m are drafted for by d tokens each:

        tokens  = (n - m) + sum of 1 + a + ... + a^d over the m
        seconds = batch(m, 1 + d) + batch(n - m, 1) + d · draft(m) + take_back

    take_back is what it costs to drop wrong tokens: nothing for most memories.

    batch(k, r) is the cheapest way to compute r rows of each of k sequences, together or in
    several batches. The m are the sequences with the highest acceptance rates a.

    A draft model's drafts end by themselves where they promise too little (see `DraftStopping`).
    Once it is known what such drafts amount to, this takes the place of a and d.
    """

    def __init__(self, seconds: BatchSeconds) -> None:
        self._seconds = seconds
        self._decisions: CostMemo[object, Decision] = CostMemo(*seconds.costs)

    def choose(
        self, candidates: Sequence[Candidate], num_others: int, stats: DraftStats | None = None
    ) -> Decision:
        """Tokens to draft for each candidate; `num_others` sequences decode without drafts.

        `stats` is given if all drafts are the draft model's: what such drafts amounted to while
        as many sequences were decoding. The lengths then are upper bounds.
        """
        key = (
            num_others,
            *((round(c.acceptance.rate, 2), c.max_length, c.is_free) for c in candidates),
        )
        decision = self._decisions.get(key, lambda: self._search(candidates, num_others))
        if stats is None:
            return decision
        # These drafts end where they promise little, so more sequences may try than seem best.
        lengths = tuple(
            c.max_length if length > 0 or c.acceptance.rate >= MIN_ACCEPTANCE else 0
            for c, length in zip(candidates, decision.lengths, strict=True)
        )
        if stats.is_known:
            return self._by_stats(lengths, num_others, stats)
        return Decision(lengths, decision.rate) if decision.count else decision

    def _by_stats(self, lengths: tuple[int, ...], num_others: int, stats: DraftStats) -> Decision:
        """Draft for all that have a length, or for nobody."""
        total = len(lengths) + num_others
        count = sum(length > 0 for length in lengths)
        plain = Decision((0,) * len(lengths), self._seconds.plain_rate(total))
        if count == 0:
            return plain
        seconds = (
            self._seconds.batch_of_mean_rows(count, 1 + stats.verified)
            + self._seconds.batch(total - count, 1)
            + stats.drafted * self._seconds.draft_token(count)
            + self._seconds.take_back(count, count, 1 + stats.accepted)
        )
        rate = (total + count * stats.accepted) / seconds
        return Decision(lengths, rate) if rate > plain.rate * (1 + MIN_GAIN) else plain

    def _search(self, candidates: Sequence[Candidate], num_others: int) -> Decision:
        """Try all numbers of sequences, the most often accepted first, with all lengths."""
        total = len(candidates) + num_others
        ranked = sorted(
            range(len(candidates)), key=lambda i: candidates[i].acceptance.rate, reverse=True
        )
        counts = range(1, len(ranked) + 1) if len(ranked) <= MAX_TOGETHER else (len(ranked),)
        plain_rate = self._seconds.plain_rate(total)
        best_rate, best_count, best_length = plain_rate * (1 + MIN_GAIN), 0, 0
        for count in counts:
            rate, length = self._best_length([candidates[i] for i in ranked[:count]], total)
            if rate > best_rate:
                best_rate, best_count, best_length = rate, count, length
        lengths = [0] * len(candidates)
        for i in ranked[:best_count]:
            lengths[i] = min(best_length, candidates[i].max_length)
        return Decision(tuple(lengths), best_rate if best_count else plain_rate)

    def _best_length(self, chosen: Sequence[Candidate], total: int) -> tuple[float, int]:
        """The highest rate, in tokens a second of all `total` sequences, if `chosen` are drafted
        for; and the length of drafts that gives this rate."""
        count = len(chosen)
        plain_seconds = self._seconds.batch(total - count, 1)
        draft_seconds = self._seconds.draft_token(sum(not c.is_free for c in chosen))

        def rate(length: int) -> float:
            drafted = (c.acceptance.expected_tokens(min(length, c.max_length)) for c in chosen)
            tokens = total - count + sum(drafted)
            seconds = self._seconds.batch(count, 1 + length) + plain_seconds
            return tokens / (seconds + length * draft_seconds + take_back(length))

        def take_back(length: int) -> float:
            right = [c.acceptance.rate ** min(length, c.max_length) for c in chosen]
            drafted = sum(c.acceptance.expected_tokens(min(length, c.max_length)) for c in chosen)
            return self._seconds.take_back(count, count - sum(right), drafted / count)

        best = max(_lengths_up_to(max(c.max_length for c in chosen)), key=rate)
        return rate(best), best


def _lengths_up_to(max_length: int) -> list[int]:
    return [length for length in LENGTHS if length < max_length] + [max_length]
