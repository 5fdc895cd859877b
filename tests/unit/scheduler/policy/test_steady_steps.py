"""Steps that repeat the step before are those that planning anew would find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.commands import AddRequest, ContextShift
from protocol.events import Event
from scheduler.core.results import Result, Sample, SampledRun, SampleFailed
from scheduler.core.step import Step
from scheduler.policy.scheduler import Scheduler
from tests.support.fake_backend import END_TOKEN
from tests.support.scheduling import make_request, make_scheduler, prompt, run_step, submit_all

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {"n_slots": 4, "n_ctx_slot": 64},
    "unified": {"n_slots": 4, "n_ctx_slot": 64, "n_ctx": 110},
    "small batches": {"n_slots": 6, "n_ctx_slot": 40, "n_batch": 7},
}


def seen(step: Step) -> tuple[object, ...]:
    """A step without the sequences that are one scheduler's own."""
    chunks = [
        (
            *(chunk.sequence.request_id, chunk.slot, chunk.start, chunk.stop, chunk.wants_logits),
            *(chunk.is_decode, chunk.max_draft, chunk.draft, chunk.is_scored, chunk.tokens),
        )
        for chunk in step.chunks
    ]
    return step.started, step.edits, chunks, step.padding_rows, step.counters


class Pair:
    """Two schedulers that are told the same, of which one plans every step anew."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **layout: Any) -> None:
        self.quick, self.thorough = make_scheduler(**layout), make_scheduler(**layout)
        self.num_repeated = 0
        repeated = self.quick._repeated

        def counted() -> Step | None:
            step = repeated()
            self.num_repeated += step is not None
            return step

        monkeypatch.setattr(self.quick, "_repeated", counted)
        monkeypatch.setattr(self.thorough, "_repeated", lambda: None)

    @property
    def both(self) -> Iterator[Scheduler]:
        return iter((self.quick, self.thorough))

    def add(self, request: AddRequest) -> None:
        one, other = (scheduler.add_request(request) for scheduler in self.both)
        assert one == other

    def abort(self, request_id: int) -> None:
        one, other = (scheduler.abort([request_id]) for scheduler in self.both)
        assert one == other

    def step(self, rng: random.Random) -> None:
        """One step of both, whose results are drawn once."""
        steps = [scheduler.schedule() for scheduler in self.both]
        assert seen(steps[0]) == seen(steps[1])
        results = [_result(rng) for _ in steps[0].sampled()]
        events = [s.update(step, list(results)) for s, step in zip(self.both, steps, strict=True)]
        assert events[0] == events[1]

    def end_lateness(self, rng: random.Random) -> None:
        """Late sequences get their token, or some of them."""
        late = [sequence.request_id for sequence in self.quick.running if sequence.is_late]
        for request_id in late:
            if rng.random() < 0.5:
                continue
            run = SampledRun((Sample(rng.randrange(20, 200)),))
            told: list[list[Event]] = [
                scheduler.update_late(sequence, run)
                for scheduler in self.both
                for sequence in scheduler.running
                if sequence.request_id == request_id
            ]
            assert told[0] == told[1]


def _result(rng: random.Random) -> Result:
    draw = rng.random()
    if draw < 0.01:
        return SampleFailed("no")
    if draw < 0.03:
        return SampledRun((), is_late=True)
    if draw < 0.05:
        return SampledRun((Sample(END_TOKEN),))
    forced = tuple(rng.randrange(20, 200) for _ in range(3)) if draw < 0.08 else ()
    return SampledRun((Sample(rng.randrange(20, 200), forced=forced),))


def _request(request_id: int, rng: random.Random) -> AddRequest:
    fields: dict[str, Any] = {"max_tokens": rng.choice([1, 5, 30, 200])}
    if rng.random() < 0.2:
        fields["context_shift"] = ContextShift(keep=2, discard=0)
    length = rng.choice([1, 3, 12, 30])
    return make_request(request_id, prompt(length, family=rng.randrange(4)), **fields)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(12))
def test_a_repeated_step_is_what_planning_anew_finds(
    monkeypatch: pytest.MonkeyPatch, layout: str, seed: int
) -> None:
    rng = random.Random(seed)
    pair = Pair(monkeypatch, **LAYOUTS[layout])
    for number in range(600):
        pair.end_lateness(rng)
        if rng.random() < 0.06:
            pair.add(_request(number + 1, rng))
        if rng.random() < 0.02 and pair.quick.running:
            pair.abort(rng.choice(pair.quick.running).request_id)
        pair.step(rng)
    assert pair.num_repeated > 20


def test_most_steps_of_running_answers_repeat_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = make_scheduler()
    submit_all(scheduler, 3, 5)
    for _ in range(2):  # the prompts, and the first decode, which is planned
        run_step(scheduler)
    monkeypatch.setattr(scheduler, "_planned", lambda: pytest.fail("planned anew"))
    for position in range(10):
        step, events = run_step(scheduler)
        assert [(chunk.start, chunk.stop) for chunk in step.chunks] == [
            (length + 1 + position, length + 2 + position) for length in (3, 5)
        ]
        assert len(events) == 2
