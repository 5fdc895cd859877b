"""How much faster guessing ahead can make an answer at most. Pure.

An answer is walked through as the engine would: at each place a guess of some tokens is verified
in one step, and the step yields the right ones and one more.

    time(k) = sum over the steps of  step(streams, 1 + offered) + offered * guess
    speed-up(k) = tokens * step(streams, 1) / time(k)       offered = min(k, tokens to guess here)

`step(streams, rows)` is the measured time of so many rows of each of so many streams, in one batch
or in several, as is cheapest; `guess` is that of one guessed token. The bound is the greatest
speed-up that any fixed k gives. Who decides place by place how far to guess could exceed it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A place in an answer: how many tokens are guessed there, and how many of them are right."""

    offered: int
    right: int


@dataclass(frozen=True)
class Bound:
    """The best length of a guess, and what it gives."""

    length: int
    tokens_per_step: float
    speed_up: float


@dataclass(frozen=True)
class Costs:
    """Seconds of a step: by the rows of one stream, and by streams with one row each; and of one
    guessed token."""

    by_rows: Mapping[int, float]
    by_streams: Mapping[int, float]
    guess: float

    def of_step(self, streams: int, rows: int) -> float:
        """`rows` of each of so many streams, divided into batches as is cheapest."""
        best = [0.0]
        for count in range(1, streams + 1):
            best.append(min(self._batch(n, rows) + best[count - n] for n in range(1, count + 1)))
        return best[streams]

    def _batch(self, streams: int, rows: int) -> float:
        if rows == 1:
            return _between(self.by_streams, streams)
        return _between(self.by_rows, streams * rows)


def _between(points: Mapping[int, float], at: int) -> float:
    """Between two points, and beyond the last two, along a line."""
    known = sorted(points)
    if len(known) == 1 or at <= known[0]:
        return points[known[0]]
    above = next((n for n in known if n >= at), known[-1])
    index = max(known.index(above), 1)
    low, high = known[index - 1], known[index]
    return points[low] + (points[high] - points[low]) / (high - low) * (at - low)


Answer = Sequence[Place]
"""The places of one answer, from its second token on: the first comes with the prompt."""


def best_length(answers: Sequence[Answer], costs: Costs, most: int, streams: int = 1) -> Bound:
    """The bound of guesses of at most `most` tokens for so many answers side by side."""
    return max(
        (_with_length(answers, costs, length, streams) for length in range(most + 1)),
        key=lambda bound: bound.speed_up,
    )


def right_by_position(answers: Sequence[Answer], most: int) -> list[float]:
    """Share of the guesses that are right at their first token, at their first two, and so on."""
    places = [place for answer in answers for place in answer if place.offered]
    counts = (sum(place.right > position for place in places) for position in range(most))
    return [count / len(places) for count in counts] if places else []


def draft_places(is_right: Sequence[bool], most: int) -> list[Place]:
    """The places of an answer whose tokens the draft model guesses right or wrong, given all
    before them: right ones in a row are one right guess."""
    runs: list[int] = []
    run = 0
    for right in reversed(is_right):
        run = run + 1 if right else 0
        runs.append(min(run, most))
    return [Place(most, run) for run in reversed(runs)]


def lookup_places(
    prompt: Sequence[int], answer: Sequence[int], size: int, most: int
) -> list[Place]:
    """The places of an answer whose guess is what followed the last `size` tokens, where they
    stood last."""
    tokens = [*prompt, *answer]
    latest: dict[tuple[int, ...], int] = {}
    places: list[Place] = []
    for end in range(size, len(tokens)):
        key = tuple(tokens[end - size : end])
        if end > len(prompt):
            places.append(_looked_up(tokens, end, latest.get(key), most))
        latest[key] = end
    missing = len(answer) - 1 - len(places)
    return [Place(0, 0)] * missing + places


def _looked_up(tokens: Sequence[int], end: int, found: int | None, most: int) -> Place:
    if found is None:
        return Place(0, 0)
    guess = tokens[found : min(found + most, end)]
    pairs = zip(guess, tokens[end:], strict=False)
    right = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return Place(len(guess), right)


def _with_length(answers: Sequence[Answer], costs: Costs, length: int, streams: int) -> Bound:
    seconds, steps, tokens = 0.0, 0, 0
    step = functools.cache(costs.of_step)
    for answer in answers:
        tokens += len(answer)
        at = 0
        while at < len(answer):
            offered = min(length, answer[at].offered)
            seconds += step(streams, 1 + offered) + offered * costs.guess
            steps += 1
            at += 1 + min(offered, answer[at].right)
    if not steps:
        return Bound(length, 1.0, 1.0)
    return Bound(length, tokens / steps, tokens * step(streams, 1) / seconds)
