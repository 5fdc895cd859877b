"""The engine on the fake backend: other requests must not change what a request gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.commands import Abort, AddRequest, DraftMethod, Inspect, Speculation
from protocol.events import FinishReason
from protocol.sampling import SamplingParams
from scheduler.backends.base import Preparation, SamplerError
from scheduler.core.abilities import CacheAbilities
from scheduler.core.results import Sample
from scheduler.engine.batch_window import BATCH_WINDOW_SECONDS
from scheduler.engine.engine import Engine
from tests.support.fake_backend import FakeBackend, FakeSampler
from tests.support.scheduling import (
    CountingBackend,
    Outcomes,
    alone,
    check_idle,
    collect,
    drain,
    make_engine,
    make_request,
    often_ending,
    prompt,
    run,
)


@st.composite
def request_lists(draw: st.DrawFn) -> list[AddRequest]:
    """Several requests, many of which share prefixes."""
    requests = []
    for request_id in range(1, draw(st.integers(1, 8)) + 1):
        shared = prompt(draw(st.sampled_from([0, 1, 20, 40, 80])), draw(st.integers(0, 1)))
        tokens = [*shared, *prompt(draw(st.integers(1, 20)), family=10 + request_id % 3)]
        requests.append(
            make_request(
                request_id,
                tokens,
                max_tokens=draw(st.sampled_from([-1, 0, 1, 5, 30])),
                cache_prompt=draw(st.booleans()),
                slot=draw(st.sampled_from([None, None, 0])),
            )
        )
    return requests


layouts = st.sampled_from(
    [
        {"n_slots": 1, "n_batch": 16},
        {"n_slots": 3, "n_batch": 16},
        {"n_slots": 4, "n_batch": 64},
        {"n_slots": 4, "n_batch": 32, "n_ctx": 160},
        {"n_slots": 8, "n_batch": 8, "n_ctx": 130},
    ]
)
abilities = st.sampled_from(
    [CacheAbilities(), CacheAbilities(can_copy=False), CacheAbilities(False, False)]
)


@given(request_lists(), layouts, abilities, st.sampled_from([0, 3, 40]))
@settings(max_examples=150, deadline=None)
def test_a_request_gets_in_company_what_it_gets_alone(
    requests: list[AddRequest], layout: dict[str, Any], able: CacheAbilities, max_forced: int
) -> None:
    backend = CountingBackend(n_ctx_slot=128, next_token=often_ending, abilities=able, **layout)
    backend.max_forced = max_forced
    engine = make_engine(backend)
    outcomes = run(engine, *requests)
    for request in requests:
        assert outcomes[request.request_id].answer == alone(request, backend).answer
    check_idle(engine, backend)


@given(st.integers(0, 29), layouts)
@settings(max_examples=30, deadline=None)
def test_a_resumed_request_ends_as_if_it_had_not_been_interrupted(
    cut: int, layout: dict[str, Any]
) -> None:
    backend = FakeBackend(n_ctx_slot=128, next_token=often_ending, **layout)
    whole = make_request(1, prompt(50, family=3), max_tokens=30)
    tokens, reason = alone(whole, backend).answer
    cut = min(cut, len(tokens) - 1)
    rest = make_request(1, whole.spec.prompt, resumed=tokens[:cut], max_tokens=30)
    assert run(make_engine(backend), rest)[1].answer == (tokens[cut:], reason)


def test_a_shared_prefix_is_computed_once() -> None:
    backend = FakeBackend(n_slots=4, n_ctx_slot=256, n_batch=256)
    requests = [make_request(i, [*prompt(200), i], max_tokens=1) for i in range(4)]
    run(make_engine(backend), *requests)
    assert backend.num_computed == 200 + 4


def test_preemption_happens_and_changes_nothing() -> None:
    backend = FakeBackend(n_slots=4, n_ctx_slot=100, n_ctx=100, n_batch=64)
    requests = [make_request(i, prompt(20, family=i), max_tokens=40) for i in range(4)]
    outcomes = run(make_engine(backend), *requests)
    assert backend.num_computed > 4 * (20 + 39)
    for request in requests:
        assert outcomes[request.request_id].answer == alone(request, backend).answer


def test_a_preempted_request_comes_back_only_when_there_is_room() -> None:
    backend = FakeBackend(n_slots=4, n_ctx_slot=300, n_ctx=300, n_batch=64)
    run(make_engine(backend), *(make_request(i, prompt(20, i), max_tokens=200) for i in range(4)))
    assert backend.num_computed < 2 * 4 * 220


def test_a_refused_request_is_told_by_the_next_step() -> None:
    backend = CountingBackend()
    engine = make_engine(backend)
    outcomes = run(engine, make_request(1, []))
    assert outcomes[1].answer == ([], FinishReason.FAILED)
    assert outcomes[1].message == "the prompt is empty"
    check_idle(engine, backend)


class _Refusing(CountingBackend):
    """Makes no sampler for request 1, and one that fails for request 2."""

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        if request.request_id == 1:
            raise SamplerError("no such sampler")
        return _Breaking(self, request) if request.request_id == 2 else super().sampler(request)


class _Breaking(FakeSampler):
    def sample(self, row: int) -> Sample:
        raise SamplerError("no token is allowed")


def test_samplers_that_cannot_be_made_fail_their_request_alone() -> None:
    engine = make_engine(backend := _Refusing())
    outcomes = run(engine, *(make_request(i, prompt(5, i), max_tokens=3) for i in (1, 2, 3)))
    assert outcomes[1].answer == ([], FinishReason.FAILED)
    assert outcomes[1].message == "no such sampler"
    assert outcomes[2].answer == ([], FinishReason.FAILED)
    assert outcomes[2].message == "no token is allowed"
    assert outcomes[3].answer == alone(make_request(3, prompt(5, 3), max_tokens=3), backend).answer
    check_idle(engine, backend)


def failing_engine() -> tuple[Engine, CountingBackend, list[bool]]:
    """An engine whose next batch fails if the element of the list is true."""
    failures = [False]
    backend = CountingBackend(n_ctx_slot=128, fail_on=lambda chunks: failures[0])
    return make_engine(backend), backend, failures


def test_a_failed_batch_ends_the_running_and_keeps_the_waiting() -> None:
    engine, backend, failures = failing_engine()
    for request_id in range(1, 7):
        engine.add_request(make_request(request_id, prompt(40, request_id), max_tokens=3))
    outcomes: Outcomes = {}
    collect(outcomes, engine.step().outputs())
    failures[0] = True
    collect(outcomes, engine.step().outputs())
    assert {i: o.reasons for i, o in outcomes.items()} == {
        request_id: [FinishReason.FAILED] for request_id in (1, 2, 3, 4)
    }
    failures[0] = False
    drain(engine, outcomes)
    for request_id in (5, 6):
        expected = alone(make_request(request_id, prompt(40, request_id), max_tokens=3), backend)
        assert outcomes[request_id].answer == expected.answer
    check_idle(engine, backend)


def test_nothing_is_reused_after_a_failed_batch() -> None:
    engine, _, failures = failing_engine()
    run(engine, make_request(1, prompt(60), max_tokens=1))
    failures[0] = True
    run(engine, make_request(2, prompt(70), max_tokens=1))
    failures[0] = False
    outcome = run(engine, make_request(3, prompt(70), max_tokens=1))[3]
    assert outcome.num_cached == 0
    assert outcome.reasons == [FinishReason.MAX_TOKENS]


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_an_aborted_request_ends_at_the_next_step(steps: int) -> None:
    engine = make_engine(backend := CountingBackend(n_batch=16))
    engine.add_request(make_request(1, prompt(40)))
    outcomes: Outcomes = {}
    for _ in range(steps):
        collect(outcomes, engine.step().outputs())
    engine.abort(Abort([1]))
    collect(outcomes, engine.step().outputs())
    assert outcomes[1].reasons == [FinishReason.ABORTED]
    assert not engine.has_work
    check_idle(engine, backend)


def test_logprobs_come_with_the_tokens_that_asked_for_them() -> None:
    engine = make_engine(FakeBackend())
    sampling = SamplingParams(temperature=0.0, top_logprobs=1)
    engine.add_request(make_request(1, sampling=sampling, max_tokens=1))
    engine.add_request(make_request(2, prompt(4), max_tokens=1))
    events = [event for event in engine.step().outputs().events if hasattr(event, "logprobs")]
    assert [len(event.logprobs) for event in events] == [1, 0]


def test_an_idle_engine_waits_a_moment_for_those_who_come_together() -> None:
    engine = make_engine(FakeBackend(n_slots=4))
    engine.add_request(make_request(1, prompt(5, 0), num_requests_being_read=2))
    assert 0 < engine.seconds_until_batch_starts <= BATCH_WINDOW_SECONDS
    engine.add_request(make_request(2, prompt(5, 1), num_requests_being_read=1))
    assert engine.seconds_until_batch_starts > 0
    engine.add_request(make_request(3, prompt(5, 2)))
    assert engine.seconds_until_batch_starts == 0
    stats = engine.step().outputs().stats
    assert stats is not None
    assert stats.num_running == 3


def test_an_engine_does_not_wait_for_ever_for_those_who_do_not_come() -> None:
    engine = make_engine(FakeBackend())
    engine.add_request(make_request(num_requests_being_read=1))
    looks = 0
    while engine.seconds_until_batch_starts > 0:  # the clock goes on
        looks += 1
    assert looks <= 1000 * BATCH_WINDOW_SECONDS


def test_an_engine_does_not_wait_for_more_than_it_has_slots_for() -> None:
    engine = make_engine(FakeBackend(n_slots=2))
    engine.add_request(make_request(1, prompt(5, 0), num_requests_being_read=9))
    engine.add_request(make_request(2, prompt(5, 1), num_requests_being_read=8))
    assert engine.seconds_until_batch_starts == 0


def test_a_running_answer_does_not_wait_for_anybody() -> None:
    engine = make_engine(FakeBackend())
    engine.add_request(make_request(1, prompt(5, 0)))
    engine.step()
    engine.add_request(make_request(2, prompt(5, 1), num_requests_being_read=1))
    assert engine.seconds_until_batch_starts == 0


def test_inspect_shows_slots_and_queue() -> None:
    engine = make_engine(FakeBackend(n_slots=1))
    for request_id in (1, 2, 3):
        engine.add_request(make_request(request_id, prompt(3, request_id)))
    engine.step()
    report = engine.inspect(Inspect(8))
    assert (report.query_id, report.num_waiting) == (8, 2)
    assert [slot.request_id for slot in report.slots] == [1]


def test_closing_frees_the_samplers_of_what_still_runs() -> None:
    engine = make_engine(backend := CountingBackend())
    engine.add_request(make_request(1))
    engine.step()
    engine.close()
    assert backend.open_samplers == 0


def test_requests_end_if_the_cells_of_a_rejected_draft_cannot_be_dropped() -> None:
    backend = CountingBackend(draft_token=lambda tokens, token: (token + 1) % 250)
    engine = make_engine(backend)
    engine.add_request(make_request(speculation=Speculation(methods=(DraftMethod.MODEL,), n_max=3)))
    outcomes: Outcomes = {}
    while 1 not in outcomes or len(outcomes[1].tokens) < 2:
        collect(outcomes, engine.step().outputs())
    backend.edits_before_failure = 0
    assert drain(engine, outcomes)[1].reasons == [FinishReason.FAILED]
    check_idle(engine, backend)


def test_the_sequences_that_start_are_announced_before_anything_is_computed() -> None:
    told: list[list[int]] = []

    def computes(chunks: object) -> bool:
        told.append([])
        return False

    engine = make_engine(FakeBackend(fail_on=computes))
    engine.add_request(make_request(1, prompt(5, 0)))
    engine.add_request(make_request(2, prompt(5, 1)))
    engine.step(lambda outputs: told.append([event.request_id for event in outputs.events]))
    assert told == [[1, 2], []]
