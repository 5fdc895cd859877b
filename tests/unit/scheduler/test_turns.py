"""Sequences that can't be computed together: each kind gets its turn, and none starves another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.fake import FakeBackend
from scheduler.scheduler import Scheduler
from scheduler.sequence import Step
from scheduler.turns import BatchKind, Turns
from tests.unit.scheduler.helpers import (
    alone,
    check_idle,
    make_engine,
    make_scheduler,
    make_submit,
    prompt,
    run,
    turn,
)

A, B, C = (BatchKind(((name, 1.0),)) for name in "abc")
kinds = st.sampled_from([A, B, C, BatchKind(())])


@settings(deadline=None)
@given(st.lists(st.sets(kinds, min_size=1), max_size=40))
def test_who_has_work_waits_for_no_more_turns_than_there_are_kinds(
    working: list[set[BatchKind]],
) -> None:
    turns = Turns()
    waits: dict[BatchKind, list[set[BatchKind]]] = {}
    for now in working:
        waits = {kind: [*waits.get(kind, []), now] for kind in now}
        served = turns.take(now)
        assert served in now
        for kind, seen in waits.items():
            assert kind == served or len(seen) < len(set.union(*seen))
        del waits[served]


def submit(scheduler: Scheduler, request_id: int, kind: BatchKind, length: int = 5) -> None:
    tokens = prompt(length, family=request_id)
    assert not scheduler.submit(make_submit(request_id, tokens, lora=kind.lora))


def computed(step: Step) -> dict[int, int]:
    """Rows of each request in a step."""
    return {chunk.sequence.request_id: chunk.num_tokens for chunk in step.chunks}


def test_kinds_take_turns() -> None:
    scheduler = make_scheduler(n_slots=4)
    for request_id, kind in ((1, A), (2, B), (3, A), (4, C)):
        submit(scheduler, request_id, kind)
    steps = [set(computed(turn(scheduler)[0])) for _ in range(6)]
    assert steps == [{1, 3}, {2}, {4}] * 2


def test_one_kind_never_waits() -> None:
    scheduler = make_scheduler(n_slots=4)
    for request_id in (1, 2, 3):
        submit(scheduler, request_id, A)
    assert all(set(computed(turn(scheduler)[0])) == {1, 2, 3} for _ in range(5))


def test_other_scales_are_another_kind() -> None:
    scheduler = make_scheduler()
    submit(scheduler, 1, A)
    submit(scheduler, 2, BatchKind((("a", 0.5),)))
    assert len(computed(turn(scheduler)[0])) == 1


def test_streams_of_one_kind_go_on_while_another_computes_a_long_prompt() -> None:
    scheduler = make_scheduler(n_slots=2, n_ctx_slot=4096, n_batch=2048)
    submit(scheduler, 1, A)
    turn(scheduler)
    submit(scheduler, 2, B, length=4000)
    steps = [computed(turn(scheduler)[0]) for _ in range(20)]
    assert sum(1 in step for step in steps) == 10
    assert all(step.get(2, 0) <= 128 for step in steps)  # where it has no stream of its own


def test_while_nobody_streams_prompts_of_all_kinds_take_whole_batches() -> None:
    scheduler = make_scheduler(n_slots=2, n_ctx_slot=4096, n_batch=2048)
    submit(scheduler, 1, A, length=3000)
    submit(scheduler, 2, B, length=3000)
    steps = [computed(turn(scheduler)[0]) for _ in range(3)]
    assert steps == [{1: 2048}, {2: 2048}, {1: 952}]


def test_prompts_are_shared_within_a_kind_only() -> None:
    scheduler = make_scheduler(n_slots=3, n_batch=64)
    for request_id, kind in ((1, A), (2, B), (3, A)):
        scheduler.submit(make_submit(request_id, prompt(50), lora=kind.lora))
    assert [computed(turn(scheduler)[0]) for _ in range(3)] == [{1: 50}, {2: 50}, {1: 1, 3: 1}]


def test_a_slot_that_another_kind_has_left_is_computed_anew() -> None:
    backend = FakeBackend(n_slots=1)
    engine = make_engine(backend, cache_bytes=1000)
    for request_id, kind in enumerate((A, B, A, BatchKind(()), B), start=1):
        request = make_submit(request_id, prompt(80), lora=kind.lora, max_tokens=5)
        outcome = run(engine, request)[request_id]
        assert outcome.answer == alone(request, backend).answer
        assert outcome.num_cached == (0 if request_id in (1, 2, 4) else 79)
    check_idle(engine, backend)
