"""Sequences that can't be computed together: each kind is served, and none starves another."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.commands import AddRequest
from protocol.events import Finished, FinishReason
from protocol.messages import EmbeddingInfo
from scheduler.core.batch_kind import BatchKind
from scheduler.core.step import Step
from scheduler.policy.batch_kind_rotation import MAX_STEPS, BatchKindRotation
from scheduler.policy.scheduler import Scheduler
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import (
    ALONE,
    LAST,
    WHOLE,
    alone,
    check_idle,
    make_engine,
    make_request,
    make_scheduler,
    prompt,
    rows,
    run,
    run_step,
)

A, B, C = (BatchKind(((name, 1.0),)) for name in "abc")
kinds = st.sampled_from([A, B, C, BatchKind(())])


@settings(deadline=None)
@given(st.lists(st.sets(kinds, min_size=1), max_size=40))
def test_who_has_work_waits_for_no_more_turns_than_there_are_kinds(
    working: list[set[BatchKind]],
) -> None:
    turns = BatchKindRotation(1.0)
    waits: dict[BatchKind, list[set[BatchKind]]] = {}
    for now in working:
        waits = {kind: [*waits.get(kind, []), now] for kind in now}
        served = turns.take(now)
        turns.observe(1.0)
        assert served in now
        for kind, seen in waits.items():
            assert kind == served or len(seen) < len(set.union(*seen))
        del waits[served]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5]), min_size=60, max_size=60))
def test_a_turn_lasts_for_some_steps_and_a_round_no_longer_than_it_may(
    seconds: list[float],
) -> None:
    turns = BatchKindRotation(1.0)
    served = []
    for one in seconds:
        served.append(turns.take([A, B]))
        turns.observe(one)
    turn_of = [list(steps) for _, steps in groupby(range(60), key=lambda step: served[step])]
    assert all(len(steps) <= MAX_STEPS for steps in turn_of)
    for steps in turn_of[:-1]:
        took = [seconds[step] for step in steps]
        assert sum(took[:-1]) < 0.5
        assert sum(took) >= 0.5 or len(steps) == MAX_STEPS


def test_who_comes_is_served_before_who_was_alone() -> None:
    turns = BatchKindRotation(1.0)
    assert [turns.take([A]) for _ in range(3)] == [A, A, A]
    assert turns.take([A, B]) == B


def submit(scheduler: Scheduler, request_id: int, kind: BatchKind, length: int = 5) -> None:
    tokens = prompt(length, family=request_id)
    assert not scheduler.add_request(make_request(request_id, tokens, lora=kind.lora))


def long_step(scheduler: Scheduler) -> Step:
    """One step, which takes as long as the turn of a kind may take."""
    step, _ = run_step(scheduler)
    scheduler.planner.observe(step, 1.0)
    return step


def test_kinds_take_turns() -> None:
    scheduler = make_scheduler(n_slots=4)
    for request_id, kind in ((1, A), (2, B), (3, A), (4, C)):
        submit(scheduler, request_id, kind)
    steps = [set(rows(long_step(scheduler))) for _ in range(6)]
    assert steps == [{1, 3}, {2}, {4}] * 2


def test_one_kind_never_waits() -> None:
    scheduler = make_scheduler(n_slots=4)
    for request_id in (1, 2, 3):
        submit(scheduler, request_id, A)
    assert all(set(rows(run_step(scheduler)[0])) == {1, 2, 3} for _ in range(5))


def test_other_scales_are_another_kind() -> None:
    scheduler = make_scheduler()
    submit(scheduler, 1, A)
    submit(scheduler, 2, BatchKind((("a", 0.5),)))
    assert len(rows(run_step(scheduler)[0])) == 1


def test_streams_of_one_kind_go_on_while_another_computes_a_long_prompt() -> None:
    scheduler = make_scheduler(n_slots=2, n_ctx_slot=4096, n_batch=2048)
    submit(scheduler, 1, A)
    run_step(scheduler)
    submit(scheduler, 2, B, length=4000)
    steps = [rows(long_step(scheduler)) for _ in range(20)]
    assert sum(1 in step for step in steps) == 10
    assert all(step.get(2, 0) <= 128 for step in steps)  # where it has no stream of its own


def test_while_nobody_streams_prompts_of_all_kinds_take_whole_batches() -> None:
    scheduler = make_scheduler(n_slots=2, n_ctx_slot=4096, n_batch=2048)
    submit(scheduler, 1, A, length=3000)
    submit(scheduler, 2, B, length=3000)
    steps = [rows(long_step(scheduler)) for _ in range(3)]
    assert steps == [{1: 2048}, {2: 2048}, {1: 952}]


def test_prompts_are_shared_within_a_kind_only() -> None:
    scheduler = make_scheduler(n_slots=3, n_batch=64)
    for request_id, kind in ((1, A), (2, B), (3, A)):
        scheduler.add_request(make_request(request_id, prompt(50), lora=kind.lora))
    steps = [rows(long_step(scheduler)) for _ in range(3)]
    assert steps == [{1: 50}, {2: 50}, {1: 1, 3: 1}]


def test_a_slot_that_another_kind_has_left_is_computed_anew() -> None:
    backend = FakeBackend(n_slots=1)
    engine = make_engine(backend, cache_bytes=1000)
    for request_id, kind in enumerate((A, B, A, BatchKind(()), B), start=1):
        request = make_request(request_id, prompt(80), lora=kind.lora, max_tokens=5)
        outcome = run(engine, request)[request_id]
        assert outcome.answer == alone(request, backend).answer
        assert outcome.num_cached == (0 if request_id in (1, 2, 4) else 79)
    check_idle(engine, backend)


def embed(request_id: int, length: int, family: int | None = None, **fields: Any) -> AddRequest:
    tokens = prompt(length, request_id if family is None else family)
    return make_request(request_id, tokens, embedding=True, max_tokens=0, **fields)


@pytest.mark.parametrize("way", [WHOLE, ALONE, LAST])
def test_embeddings_and_answers_come_out_as_alone(way: EmbeddingInfo) -> None:
    backend = FakeBackend(embeds=way, n_batch=64)
    engine = make_engine(backend, cache_bytes=1000)
    requests = [
        *(embed(request_id, 5 * request_id) for request_id in range(1, 8)),
        *(make_request(request_id, prompt(30, request_id), max_tokens=20) for request_id in (8, 9)),
    ]
    outcomes = run(engine, *requests)
    for request in requests:
        own, expected = outcomes[request.request_id], alone(request, backend)
        assert own.answer == expected.answer
        assert own.embedding == expected.embedding
        assert bool(own.embedding) == request.spec.embedding
    check_idle(engine, backend)


def test_prompts_that_are_pooled_are_computed_together_as_far_as_they_fit() -> None:
    scheduler = make_scheduler(n_slots=4, embedding=WHOLE, n_batch=64)
    for request_id, length in ((1, 25), (2, 30), (3, 10), (4, 5)):
        scheduler.add_request(embed(request_id, length))
    assert rows(scheduler.schedule()) == {1: 25, 2: 30}


def test_where_batches_are_cut_prompts_are_pooled_one_by_one() -> None:
    scheduler = make_scheduler(n_slots=4, embedding=ALONE)
    for request_id in (1, 2):
        scheduler.add_request(embed(request_id, 5))
    assert rows(scheduler.schedule()) == {1: 5}


def test_documents_come_a_few_at_a_time_while_others_stream() -> None:
    whole = msgspec.structs.replace(WHOLE, max_tokens=500, max_rows=2000)
    scheduler = make_scheduler(n_slots=8, n_ctx_slot=512, n_batch=2048, embedding=whole)
    submit(scheduler, 1, A)
    run_step(scheduler)
    for request_id in range(2, 9):
        scheduler.add_request(embed(request_id, 400))
    steps = [rows(long_step(scheduler)) for _ in range(4)]
    assert steps[0] == steps[2] == {1: 1} or steps[1] == steps[3] == {1: 1}
    assert all(len(step) < 7 for step in steps)


def test_what_was_pooled_is_no_prefix_and_leaves_no_cells() -> None:
    large = msgspec.structs.replace(WHOLE, max_tokens=200, max_rows=200)
    backend = FakeBackend(n_slots=1, embeds=large, n_batch=200)
    engine = make_engine(backend, cache_bytes=1000)
    run(engine, embed(1, 100, family=1))
    assert backend.cells == [[]]
    assert run(engine, make_request(2, prompt(100, 1), max_tokens=1))[2].num_cached == 0
    assert run(engine, embed(3, 100, family=1))[3].num_cached == 0


def test_an_embedding_of_the_last_token_reuses_what_a_chat_has_rows() -> None:
    backend = FakeBackend(embeds=LAST)
    engine = make_engine(backend)
    run(engine, make_request(1, prompt(100), max_tokens=1))
    request = embed(2, 150, family=0)
    outcome = run(engine, request)[2]
    assert outcome.num_cached == 100
    assert outcome.embedding == alone(request, backend).embedding


def test_long_prompts_are_embedded_in_the_same_batches_in_which_others_are_rows() -> None:
    scheduler = make_scheduler(n_slots=2, embedding=LAST, n_batch=64)
    scheduler.add_request(embed(1, 50))
    submit(scheduler, 2, BatchKind(), length=10)
    step = scheduler.schedule()
    assert rows(step) == {1: 49, 2: 10}
    assert [chunk.sequence.request_id for chunk in step.sampled()] == [2]


@pytest.mark.parametrize(
    ("fields", "request_", "words"),
    [
        ({}, embed(1, 5), "without embeddings"),
        ({"embedding": WHOLE}, embed(1, 41), "more than the 40"),
        ({"embedding": WHOLE, "can_generate": False}, make_request(1), "embeddings only"),
    ],
)
def test_what_the_model_can_not_do_is_refused(
    fields: dict[str, Any], request_: AddRequest, words: str
) -> None:
    (event,) = make_scheduler(**fields).add_request(request_)
    assert isinstance(event, Finished)
    assert event.reason is FinishReason.FAILED
    assert words in event.message
