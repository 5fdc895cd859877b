"""The admission queue: who is let in, and when the others may retry."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from server.errors import Overloaded
from server.generation.admission_queue import (
    MAX_RETRY_SECONDS,
    READING_SECONDS,
    AdmissionQueue,
    Permit,
)

N_SLOTS = 4


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(queue: AdmissionQueue, tokens: int = 10, tenant: str = "") -> Permit:
    return queue.admit(tenant, tokens, N_SLOTS)


def run(queue: AdmissionQueue, count: int) -> None:
    """`count` requests come in and get a slot each."""
    for _ in range(count):
        ask(queue).started()


def reason_of(queue: AdmissionQueue, tokens: int = 10, tenant: str = "") -> str:
    with pytest.raises(Overloaded) as refusal:
        ask(queue, tokens, tenant)
    return refusal.value.reason


def test_slots_and_queue_fill_up_and_no_more() -> None:
    queue = AdmissionQueue(max_queue=2)
    first, *_ = [ask(queue) for _ in range(6)]
    assert reason_of(queue) == "queue_full"
    first.ended()
    ask(queue)
    assert reason_of(queue) == "queue_full"


def test_without_a_queue_the_slots_can_still_be_used() -> None:
    queue = AdmissionQueue(max_queue=0)
    run(queue, 4)
    assert reason_of(queue) == "queue_full"


def test_a_request_ends_once_and_with_its_block_at_the_latest() -> None:
    queue = AdmissionQueue(max_queue=1)
    run(queue, 4)
    with ask(queue) as permit:
        assert reason_of(queue) == "queue_full"
        permit.ended()
    with ask(queue):
        assert reason_of(queue) == "queue_full"
    ask(queue)


def test_a_key_of_which_nothing_waits_may_wait_in_a_full_queue() -> None:
    queue = AdmissionQueue(max_queue=2, max_queue_tokens=10)
    run(queue, 4)
    ask(queue, 5, "bob")
    ask(queue, 5, "carol")
    permit = ask(queue, 5, "alice")
    assert reason_of(queue, 5, "alice") == "queue_full"
    permit.started()
    ask(queue, 5, "alice")


def test_without_a_queue_no_key_has_a_place_in_it() -> None:
    queue = AdmissionQueue(max_queue=0)
    run(queue, 4)
    assert reason_of(queue, tenant="alice") == "queue_full"


def test_waiting_prompts_are_bounded_by_their_tokens() -> None:
    queue = AdmissionQueue(max_queue=100, max_queue_tokens=1000)
    run(queue, 4)
    ask(queue, 600)
    assert reason_of(queue, 401) == "queue_tokens"
    ask(queue, 400).started()
    ask(queue, 400)


def test_a_prompt_larger_than_the_bound_may_wait_alone() -> None:
    queue = AdmissionQueue(max_queue=100, max_queue_tokens=1000)
    run(queue, 4)
    ask(queue, 5000)


class TestReading:
    def test_requests_that_are_read_take_places(self) -> None:
        queue = AdmissionQueue(max_queue=1)
        run(queue, 4)
        with queue.enter("", N_SLOTS):
            assert queue.num_reading == 1
            with pytest.raises(Overloaded), queue.enter("", N_SLOTS):
                pass
        assert queue.num_reading == 0
        ask(queue)

    def test_a_request_goes_on_in_the_place_that_it_holds(self) -> None:
        queue = AdmissionQueue(max_queue=1)
        run(queue, 4)
        with queue.enter("", N_SLOTS):
            permit = ask(queue)
            assert queue.num_reading == 0
            assert reason_of(queue) == "queue_full"  # a second answer needs a place of its own
        assert reason_of(queue) == "queue_full"
        permit.ended()
        ask(queue)

    def test_a_request_with_a_place_is_only_asked_for_its_tokens(self) -> None:
        queue = AdmissionQueue(max_queue=2, max_queue_tokens=1000)
        run(queue, 4)
        with queue.enter("", N_SLOTS):
            ask(AdmissionQueue(max_queue=0))  # a place in one queue is none in another
            assert queue.num_reading == 1
            waiting = queue.admit("", 600, N_SLOTS)
        with queue.enter("", N_SLOTS):
            assert reason_of(queue, 401) == "queue_tokens"
            ask(queue, 400)
        waiting.ended()

    def test_a_key_that_is_read_already_is_not_first(self) -> None:
        queue = AdmissionQueue(max_queue=1)
        run(queue, 4)
        ask(queue)
        with queue.enter("alice", N_SLOTS):
            with pytest.raises(Overloaded), queue.enter("alice", N_SLOTS):
                pass
            ask(queue, tenant="alice")


class TestRetryAfter:
    def test_it_follows_the_rate_at_which_requests_end(self) -> None:
        clock = Clock()
        queue = AdmissionQueue(max_queue=2, clock=clock)
        for second in range(0, 20, 2):  # one every two seconds
            clock.now = float(second)
            ask(queue).ended()
        for _ in range(6):
            ask(queue)
        clock.now = 20.0
        with pytest.raises(Overloaded) as refusal:
            ask(queue)
        assert refusal.value.retry_after == 4  # two wait
        assert refusal.value.headers["Retry-After"] == "4"

    def test_it_is_bounded(self) -> None:
        clock = Clock()
        queue = AdmissionQueue(max_queue=9, clock=clock)
        assert queue.retry_after(N_SLOTS) == 1
        for now in (0.0, 1.0):
            clock.now = now
            ask(queue).ended()
        clock.now = 1e9
        assert queue.retry_after(N_SLOTS) == MAX_RETRY_SECONDS


@pytest.mark.parametrize("count", [1, 6, 600])
@pytest.mark.parametrize("tenant", ["", "a"])
def test_bodies_that_never_come_do_not_fill_the_queue(count: int, tenant: str) -> None:
    clock = Clock()
    queue = AdmissionQueue(max_queue=2, clock=clock)
    with ExitStack() as readers:
        for _ in range(count):
            readers.enter_context(queue.enter(tenant, N_SLOTS))
            clock.now += READING_SECONDS
        assert queue.num_reading == 0
        run(queue, 4)
        ask(queue, tenant=tenant)
        ask(queue, tenant="b")
        assert queue.retry_after(N_SLOTS) < MAX_RETRY_SECONDS


def test_a_body_that_came_late_needs_a_free_place() -> None:
    clock = Clock()
    queue = AdmissionQueue(max_queue=1, clock=clock)
    with queue.enter("", N_SLOTS):
        clock.now = READING_SECONDS
        run(queue, 4)
        with ask(queue):  # it has taken the place meanwhile
            assert reason_of(queue) == "queue_full"
        ask(queue)
