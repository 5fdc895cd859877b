"""The upper bound on the speed-up of speculative decoding. Pure.

The computation walks through an answer as the engine would. At each place, one step verifies a
draft of some tokens. The step yields the accepted tokens and one more token.

    time(k) = sum over the steps of  step(streams, 1 + offered) + offered * draft_token
    speed-up(k) = tokens * step(streams, 1) / time(k)       offered = min(k, tokens drafted here)

`step(streams, rows)` is the measured time of `rows` rows of each of `streams` streams, in one batch
or in several, whichever is cheapest. `draft_token` is the time of one draft token. The bound is the
greatest speed-up that any fixed k gives. A policy that chooses the draft length at each place could
exceed the bound.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A place in an answer: the number of tokens drafted there, and how many of them are
    accepted."""

    offered: int
    right: int


@dataclass(frozen=True)
class Bound:
    """The best draft length, and the speed-up that it gives."""

    length: int
    tokens_per_step: float
    speed_up: float


@dataclass(frozen=True)
class Costs:
    """Seconds of a step by rows of one stream, seconds by streams with one row each, and seconds of
    one draft token."""

    by_rows: Mapping[int, float]
    by_streams: Mapping[int, float]
    draft_token: float

    def of_step(self, streams: int, rows: int) -> float:
        """Seconds for `rows` rows of each of `streams` streams, divided into batches as is
        cheapest."""
        best = [0.0]
        for count in range(1, streams + 1):
            best.append(min(self._batch(n, rows) + best[count - n] for n in range(1, count + 1)))
        return best[streams]

    def _batch(self, streams: int, rows: int) -> float:
        if rows == 1:
            return _between(self.by_streams, streams)
        return _between(self.by_rows, streams * rows)


def _between(points: Mapping[int, float], at: int) -> float:
    """Linear interpolation between two points, and extrapolation beyond the last two."""
    known = sorted(points)
    if len(known) == 1 or at <= known[0]:
        return points[known[0]]
    above = next((n for n in known if n >= at), known[-1])
    index = max(known.index(above), 1)
    low, high = known[index - 1], known[index]
    return points[low] + (points[high] - points[low]) / (high - low) * (at - low)


Answer = Sequence[Place]
"""The places of one answer from its second token on; the first token comes with the prompt."""


def best_length(answers: Sequence[Answer], costs: Costs, max_draft: int, streams: int = 1) -> Bound:
    """The bound for drafts of at most `max_draft` tokens, with `streams` answers side by side."""
    return max(
        (_with_length(answers, costs, length, streams) for length in range(max_draft + 1)),
        key=lambda bound: bound.speed_up,
    )


def right_by_position(answers: Sequence[Answer], max_draft: int) -> list[float]:
    """The share of drafts whose first token is accepted, whose first two tokens are, and so on."""
    places = [place for answer in answers for place in answer if place.offered]
    counts = (sum(place.right > position for place in places) for position in range(max_draft))
    return [count / len(places) for count in counts] if places else []


def draft_places(is_right: Sequence[bool], max_draft: int) -> list[Place]:
    """The places of an answer, given whether the draft model predicts each of its tokens.

    A run of predicted tokens is one accepted draft.
    """
    runs: list[int] = []
    run = 0
    for right in reversed(is_right):
        run = run + 1 if right else 0
        runs.append(min(run, max_draft))
    return [Place(max_draft, run) for run in reversed(runs)]


def lookup_places(
    prompt: Sequence[int], answer: Sequence[int], size: int, max_draft: int
) -> list[Place]:
    """The places of an answer if n-gram lookup drafts.

    A draft is the text that followed the last `size` tokens at their previous occurrence.
    """
    tokens = [*prompt, *answer]
    latest: dict[tuple[int, ...], int] = {}
    places: list[Place] = []
    for end in range(size, len(tokens)):
        key = tuple(tokens[end - size : end])
        if end > len(prompt):
            places.append(_looked_up(tokens, end, latest.get(key), max_draft))
        latest[key] = end
    missing = len(answer) - 1 - len(places)
    return [Place(0, 0)] * missing + places


def _looked_up(tokens: Sequence[int], end: int, found: int | None, max_draft: int) -> Place:
    if found is None:
        return Place(0, 0)
    draft = tokens[found : min(found + max_draft, end)]
    pairs = zip(draft, tokens[end:], strict=False)
    right = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return Place(len(draft), right)


def _with_length(answers: Sequence[Answer], costs: Costs, length: int, streams: int) -> Bound:
    seconds, steps, tokens = 0.0, 0, 0
    step = functools.cache(costs.of_step)
    for answer in answers:
        tokens += len(answer)
        at = 0
        while at < len(answer):
            offered = min(length, answer[at].offered)
            seconds += step(streams, 1 + offered) + offered * costs.draft_token
            steps += 1
            at += 1 + min(offered, answer[at].right)
    if not steps:
        return Bound(length, 1.0, 1.0)
    return Bound(length, tokens / steps, tokens * step(streams, 1) / seconds)
