"""Sequences whose masks are late: nobody waits for them, and they lose nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from grammars.constraint import GbnfGrammar
from protocol.commands import Abort, AddRequest, ContextShift, DraftMethod, Speculation
from protocol.events import FinishReason, Generated
from scheduler.backends.base import Preparation, TooComplex
from scheduler.core.results import Sample
from scheduler.engine import constraint_time
from scheduler.engine.engine import Engine
from scheduler.engine.mask_group import MaskGroup
from scheduler.engine.mask_threads import Mask
from tests.support.fake_backend import FakeSampler
from tests.support.late_masks import LateMasks
from tests.support.scheduling import (
    CountedSampler,
    CountingBackend,
    Outcomes,
    alone,
    check_idle,
    check_integrity,
    collect,
    drain,
    make_engine,
    make_request,
    prompt,
    run,
    seldom_ending,
)

NEVER = 1_000_000


def make_backend(**fields: Any) -> CountingBackend:
    """A backend whose odd requests have a constraint."""
    return CountingBackend(
        **{
            "next_token": seldom_ending,
            "is_masked": lambda request: request.request_id % 2 == 1,
            **fields,
        }
    )


def generated(engine: Engine) -> dict[int, int]:
    """By request, how many tokens a step brings."""
    events = engine.step().outputs().events
    return {e.request_id: len(e.tokens) for e in events if isinstance(e, Generated)}


@pytest.mark.parametrize("slow", [1, 2, 3])
def test_nobody_waits_for_a_mask_that_does_not_come(slow: int) -> None:
    backend = make_backend()
    masks = LateMasks([NEVER])
    engine = make_engine(backend, masks=masks)
    for request_id in [*range(1, 2 * slow, 2), 2]:
        engine.add_request(make_request(request_id, prompt(5, request_id), max_tokens=20))
    counts = [generated(engine) for _ in range(22)]
    assert sum(count.get(2, 0) for count in counts) == 20
    assert all(set(count) <= {2} for count in counts)
    check_integrity(engine, backend)


def test_an_engine_waits_where_all_are_late() -> None:
    masks = LateMasks([NEVER])
    engine = make_engine(make_backend(), masks=masks)
    engine.add_request(make_request(1, max_tokens=3))
    engine.step()
    before = masks.num_waits
    for _ in range(7):
        assert engine.has_work
        assert not engine.step().outputs().events
    assert masks.num_waits == before + 7


@pytest.mark.parametrize("delays", [[0], [1], [3, 0], [2, 7, 0, 1], [30]])
@pytest.mark.parametrize("max_forced", [0, 4])
@pytest.mark.parametrize("shared", [None, GbnfGrammar("root ::= [a-z]*")])
def test_a_late_answer_is_the_answer(
    delays: list[int], max_forced: int, shared: GbnfGrammar | None
) -> None:
    backend = make_backend(max_forced=max_forced)
    speculation = Speculation(methods=(DraftMethod.MODEL,), n_max=5)
    fields: dict[str, Any] = {"max_tokens": 30, "constraint": shared}
    requests = [
        make_request(id, prompt(9, id), speculation=speculation if id > 4 else None, **fields)
        for id in range(1, 9)
    ]
    engine = make_engine(backend, masks=LateMasks(delays))
    outcomes = run(engine, *requests)
    for request in requests:
        assert outcomes[request.request_id].answer == alone(request, backend).answer
    check_idle(engine, backend)


def test_a_late_sequence_that_is_scored_gets_its_scores_at_once() -> None:
    backend = make_backend()
    engine = make_engine(backend, masks=LateMasks([5]))
    request = make_request(1, prompt(6), max_tokens=4, score_prompt=True)
    outcome = run(engine, request)[1]
    assert (outcome.answer, outcome.scores) == (
        alone(request, backend).answer,
        alone(request, backend).scores,
    )


@pytest.mark.parametrize("shift", [ContextShift(keep=0, discard=0), ContextShift(30, 7)])
def test_a_late_sequence_outgrows_its_slot(shift: ContextShift) -> None:
    backend = make_backend(n_ctx_slot=64, max_forced=9)
    request = make_request(1, prompt(40), max_tokens=150, context_shift=shift)
    outcomes = run(make_engine(backend, masks=LateMasks([2, 0, 5])), request)
    assert outcomes[1].answer == alone(request, backend).answer


def test_late_sequences_are_preempted_and_come_back() -> None:
    backend = make_backend(n_slots=4, n_ctx_slot=128, n_ctx=160)
    engine = make_engine(backend, masks=LateMasks([0, 9, 2]))
    requests = [make_request(id, prompt(20, id), max_tokens=60) for id in range(1, 6)]
    for request in requests:
        engine.add_request(request)
    outcomes: Outcomes = {}
    num_preempted = 0
    while engine.has_work:
        outputs = engine.step().outputs()
        assert outputs.stats is not None
        num_preempted += outputs.stats.num_preempted
        collect(outcomes, outputs)
        check_integrity(engine, backend)
    assert num_preempted > 0
    for request in requests:
        assert outcomes[request.request_id].answer == alone(request, backend).answer


@pytest.mark.parametrize("end", ["abort", "failed batch"])
def test_a_late_sequence_ends(end: str) -> None:
    fails = False
    backend = make_backend(fail_on=lambda chunks: fails)
    engine = make_engine(backend, masks=LateMasks([NEVER]))
    engine.add_request(make_request(1))
    outcomes: Outcomes = {}
    collect(outcomes, engine.step().outputs())
    if end == "abort":
        engine.abort(Abort([1]))
    else:
        fails = True
        engine.add_request(make_request(2))
    outcomes = drain(engine, outcomes)
    expected = FinishReason.ABORTED if end == "abort" else FinishReason.FAILED
    assert outcomes[1].reasons == [expected]
    check_idle(engine, backend)


def ended_by_time(seconds: float, num_others: int = 0) -> Outcomes:
    engine = make_engine(make_backend(), masks=LateMasks([0], seconds))
    others = [make_request(2 + 2 * i, prompt(5, i), max_tokens=40) for i in range(num_others)]
    return run(engine, make_request(1, max_tokens=40), *others)


@pytest.mark.parametrize("seconds", [0.5, 1.7, 60.0])
def test_a_constraint_that_stays_too_slow_ends_its_own_sequence(seconds: float) -> None:
    outcomes = ended_by_time(seconds, num_others=2)
    assert outcomes[1].reasons == [FinishReason.REFUSED]
    assert outcomes[1].message.startswith("the constraint of the answer (grammar, json_schema,")
    assert "too slow" in outcomes[1].message
    most = constraint_time.FREE_SECONDS / (seconds - constraint_time.SECONDS_PER_TOKEN)
    assert len(outcomes[1].tokens) <= most + 1
    assert outcomes[2].reasons == outcomes[4].reasons == [FinishReason.MAX_TOKENS]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 30.0])
def test_a_token_that_takes_too_long_to_accept_is_the_last(seconds: float) -> None:
    masks = LateMasks([0], sample_seconds=seconds)
    outcomes = run(make_engine(make_backend(), masks=masks), make_request(1), make_request(2))
    assert outcomes[1].reasons == [FinishReason.REFUSED]
    assert "accepting one token took" in outcomes[1].message
    assert len(outcomes[1].tokens) == 1
    assert outcomes[2].answer == alone(make_request(2), make_backend()).answer


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.05])
def test_a_constraint_may_take_its_time(seconds: float) -> None:
    assert ended_by_time(seconds)[1].reasons == [FinishReason.MAX_TOKENS]


@pytest.mark.parametrize(("seconds", "slow"), [(0.001, False), (0.004, False), (0.03, True)])
def test_slow_masks_have_a_queue_of_their_own(seconds: float, slow: bool) -> None:
    masks = LateMasks([0], seconds)
    run(make_engine(make_backend(), masks=masks), make_request(1, max_tokens=5))
    assert masks.were_slow == [False, *[slow] * 4]


def test_an_automaton_is_left_alone_while_it_computes_a_mask() -> None:
    group = MaskGroup()
    masks = [Mask() for _ in range(3)]
    for mask in masks:
        group.add(mask, is_slow=mask is masks[1])
    masks[0].set_result(0.0)
    masks[2].set_result(0.0)
    assert (group.is_busy, group.is_slow, group.pending) == (True, True, [masks[1]])
    masks[1].cancel()
    assert (group.is_busy, group.is_slow, group.pending) == (False, False, [])


@pytest.mark.parametrize("others", [1, 2, 3])
def test_sequences_wait_for_the_mask_of_one_with_the_same_constraint(others: int) -> None:
    engine = make_engine(make_backend(n_slots=8), masks=LateMasks([NEVER, 0]))
    shared = GbnfGrammar("root ::= [a-z]*")
    engine.add_request(make_request(1, max_tokens=3, constraint=shared))
    engine.step()
    for number in range(others):
        engine.add_request(make_request(3 + 2 * number, max_tokens=3, constraint=shared))
    engine.add_request(make_request(98, max_tokens=3, constraint=GbnfGrammar("root ::= [a-y]*")))
    counts = [generated(engine) for _ in range(5)]
    assert all(set(count) <= {98} for count in counts)
    assert sum(count.get(98, 0) for count in counts) == 3


@pytest.mark.parametrize(("seconds", "handed"), [(0.0001, 3), (0.0009, 3), (0.002, 10)])
def test_masks_that_are_known_to_be_cheap_are_not_handed_to_a_thread(
    seconds: float, handed: int
) -> None:
    masks = LateMasks([0], seconds)
    run(make_engine(make_backend(), masks=masks), make_request(1, max_tokens=10))
    assert len(masks.were_slow) == handed


def test_a_constraint_that_became_fast_is_not_slow_for_ever() -> None:
    known = constraint_time.ConstraintTime()
    known.add_mask(0.1)
    known.add_sample(0.1)
    assert known.has_slow_masks
    assert known.has_slow_samples
    for _ in range(20):
        known.add_mask(0.001)
        known.add_sample(0.001)
    assert not known.has_slow_masks
    assert not known.has_slow_samples


def test_slow_samples_leave_time_for_the_others() -> None:
    backend = make_backend()
    engine = make_engine(backend, masks=LateMasks([0], sample_seconds=0.02))
    for request_id in (1, 3, 2):
        engine.add_request(make_request(request_id, prompt(5, request_id), max_tokens=30))
    counts = [generated(engine) for _ in range(30)]
    slow_tokens = sum(count.get(1, 0) + count.get(3, 0) for count in counts)
    assert sum(count.get(2, 0) for count in counts) == 30
    assert 2 <= slow_tokens < 30
    while engine.has_work:
        for request_id, count in generated(engine).items():
            slow_tokens += count if request_id != 2 else 0
    assert slow_tokens == 60


def test_slow_constraints_get_no_drafts() -> None:
    backend = make_backend()
    speculation = Speculation(methods=(DraftMethod.MODEL,), n_max=5)
    engine = make_engine(backend, masks=LateMasks([0], seconds=0.02))
    for request_id in (1, 2):
        request = make_request(request_id, max_tokens=30, speculation=speculation)
        engine.add_request(request)
    drafted: dict[int, int] = {1: 0, 2: 0}
    while engine.has_work:
        for event in engine.step().outputs().events:
            if isinstance(event, Generated):
                drafted[event.request_id] += event.num_draft_tokens
    assert drafted[1] == 0
    assert drafted[2] > 0


class TooComplexAt(CountingBackend):
    """Fails in the constraints of all sequences, after some tokens."""

    length = 0
    num_found_out = 0

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        super().sampler(request, prepared)
        return Failing(self, request)


class Failing(CountedSampler):
    num_sampled = 0

    def sample(self, row: int) -> Sample | None:
        assert isinstance(self.backend, TooComplexAt)
        if self.is_constrained and self.num_sampled == self.backend.length:
            self.backend.num_found_out += 1
            raise TooComplex("too complex")
        sample = super().sample(row)
        self.num_sampled += sample is not None
        return sample


@pytest.mark.parametrize("delays", [[0], [1, 0, 3]])
@pytest.mark.parametrize(
    ("length", "num_requests", "expected"), [(0, 2, 1), (0, 9, 1), (3, 5, 5), (1, 2, 2)]
)
def test_that_no_answer_can_begin_is_found_out_once(
    length: int, num_requests: int, expected: int, delays: list[int]
) -> None:
    backend = TooComplexAt(next_token=seldom_ending, is_masked=lambda r: r.request_id % 2 == 1)
    backend.length = length
    engine = make_engine(backend, masks=LateMasks(delays))
    shared = GbnfGrammar("root ::= [a-z]*")
    ids = range(1, 2 * num_requests, 2)
    requests = [make_request(id, prompt(5, id), constraint=shared) for id in ids]
    outcomes = run(engine, *requests, make_request(2, max_tokens=5))
    assert backend.num_found_out == expected
    for id in ids:
        assert outcomes[id].reasons == [FinishReason.REFUSED]
        assert outcomes[id].message == "too complex"
        assert len(outcomes[id].tokens) == length
    assert outcomes[2].reasons == [FinishReason.MAX_TOKENS]
    check_idle(engine, backend)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("num_requests", [1, 3, 4])
def test_answers_that_begin_with_one_constraint_compute_one_mask_at_a_time(
    num_requests: int, first: int
) -> None:
    masks = LateMasks([NEVER])
    engine = make_engine(make_backend(is_masked=lambda request: True), masks=masks)
    shared = GbnfGrammar("root ::= [a-z]*")
    for number in range(num_requests):
        engine.add_request(make_request(first + 2 * number, prompt(5, number), constraint=shared))
    for _ in range(9):
        engine.step()
    assert len(masks.were_slow) == 1


def resumed_after(count: int, **fields: Any) -> tuple[AddRequest, list[int]]:
    """A request with a constraint that goes on after `count` tokens, and the tokens to come."""
    backend = make_backend()
    whole = make_request(1, prompt(5), max_tokens=count + 20, **fields)
    answer = alone(whole, backend).tokens
    request = make_request(1, prompt(5), max_tokens=count + 20, resumed=answer[:count], **fields)
    return request, answer[count:]


@pytest.mark.parametrize("count", [1, 40, 200])
@pytest.mark.parametrize("sample_seconds", [0.0001, 0.003, 0.02])
def test_nobody_waits_for_a_resumed_answer_to_be_replayed(
    count: int, sample_seconds: float
) -> None:
    request, rest = resumed_after(count)
    engine = make_engine(make_backend(), masks=LateMasks([0], sample_seconds=sample_seconds))
    engine.add_request(request)
    engine.add_request(make_request(2, prompt(5, 2), max_tokens=30))
    outcomes: Outcomes = {}
    for _ in range(33):
        collect(outcomes, engine.step().outputs())
    assert len(outcomes[2].tokens) == 30
    assert drain(engine, outcomes)[1].tokens == rest


@pytest.mark.parametrize("delays", [[0], [2, 0, 5]])
@pytest.mark.parametrize("max_forced", [0, 4])
def test_a_replayed_answer_goes_on_as_it_would_have(delays: list[int], max_forced: int) -> None:
    speculation = Speculation(methods=(DraftMethod.MODEL,), n_max=5)
    request, rest = resumed_after(50, speculation=speculation)
    backend = make_backend(max_forced=max_forced)
    engine = make_engine(backend, masks=LateMasks(delays, sample_seconds=0.003))
    outcomes = run(engine, request, make_request(2, prompt(5, 2), max_tokens=30))
    assert outcomes[1].tokens == rest
    check_idle(engine, backend)


@pytest.mark.parametrize(
    ("seconds", "message"), [(0.2, "accepting one token took"), (0.14, "for 34 tokens")]
)
def test_a_replay_that_takes_too_long_ends_its_own_sequence(seconds: float, message: str) -> None:
    request, _ = resumed_after(100)
    engine = make_engine(make_backend(), masks=LateMasks([0], sample_seconds=seconds))
    outcomes = run(engine, request, make_request(2, max_tokens=5))
    assert outcomes[1].reasons == [FinishReason.REFUSED]
    assert message in outcomes[1].message
    assert outcomes[2].reasons == [FinishReason.MAX_TOKENS]


@pytest.mark.parametrize("num_resumed", [1, 2, 5])
def test_all_replays_share_the_time_of_a_step(num_resumed: int) -> None:
    request, _ = resumed_after(100)
    engine = make_engine(make_backend(n_slots=8), masks=LateMasks([0], sample_seconds=0.003))
    for number in range(num_resumed):
        engine.add_request(msgspec.structs.replace(request, request_id=1 + 2 * number))

    def num_read() -> int:
        samplers = engine.samplers.by_request.values()
        return sum(sampler.num_read for sampler in samplers if isinstance(sampler, FakeSampler))

    while not num_read():
        engine.step()
    for _ in range(10):
        before = num_read()
        engine.step()
        assert 0 < num_read() - before <= 4
