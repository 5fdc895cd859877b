"""The order of the queue."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.sequence import Sequence
from scheduler.policy.waiting_queue import WaitingQueue
from tests.support.scheduling import make_request, prompt


def sequence(request_id: int, cost: int = 10, **fields: Any) -> Sequence:
    """A sequence that computes `cost` tokens in total."""
    request = make_request(request_id, prompt(cost), max_tokens=0, **fields)
    return Sequence.of(request)


def queue(*sequences: Sequence) -> WaitingQueue:
    waiting = WaitingQueue()
    for item in sequences:
        waiting.append(item)
    return waiting


def order(waiting: WaitingQueue) -> list[int]:
    """Empty the queue; returns request ids in order of service."""
    served = []
    while waiting:
        first = next(iter(waiting))
        waiting.start(first)
        served.append(first.request_id)
    return served


def test_one_tenants_sequences_keep_their_order() -> None:
    assert order(queue(*(sequence(i, cost=50 - i) for i in range(5)))) == [0, 1, 2, 3, 4]


def test_a_flood_waits_behind_itself() -> None:
    flood = [sequence(i, tenant="flood") for i in range(10)]
    assert order(queue(*flood, sequence(99, tenant="light"))).index(99) <= 1


def test_tenants_take_turns_by_cost() -> None:
    cheap = [sequence(i, cost=10, tenant="cheap") for i in range(4)]
    dear = [sequence(10 + i, cost=20, tenant="dear") for i in range(2)]
    served = order(queue(*dear, *cheap))
    assert served[:3] == [10, 0, 1]


def test_a_tenant_of_twice_the_weight_gets_twice_the_turns() -> None:
    heavy = [sequence(i, tenant="heavy", weight=2.0) for i in range(8)]
    light = [sequence(100 + i, tenant="light") for i in range(8)]
    served = order(queue(*light, *heavy))[:9]
    assert sum(request_id < 100 for request_id in served) == 6


def test_higher_priority_goes_first() -> None:
    assert order(queue(sequence(1), sequence(2, priority=1), sequence(3, priority=-1))) == [2, 1, 3]


def test_a_preempted_sequence_goes_before_any_priority() -> None:
    waiting = queue(sequence(1, priority=5))
    waiting.appendleft(sequence(3))
    waiting.appendleft(sequence(2))
    assert order(waiting) == [2, 3, 1]


def test_an_idle_tenant_does_not_save_up_turns() -> None:
    waiting = queue(*(sequence(i, tenant="steady") for i in range(10)))
    for _ in range(5):
        waiting.start(next(iter(waiting)))
    for i in range(3):
        waiting.append(sequence(100 + i, tenant="late"))
    served = order(waiting)
    assert served.index(101) > 0
    assert 5 in served[:3]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.integers(-1, 1))), st.data()
)
def test_everyone_in_the_queue_is_in_it_once(
    arrivals: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    sequences = [
        sequence(i, cost, tenant=tenant, priority=priority)
        for i, (tenant, cost, priority) in enumerate(arrivals)
    ]
    waiting = queue(*sequences)
    gone = data.draw(st.sets(st.sampled_from(range(len(sequences))))) if sequences else set()
    for index in gone:
        waiting.remove(sequences[index])
    assert len(waiting) == len(sequences) - len(gone)
    assert sorted(order(waiting)) == sorted(set(range(len(sequences))) - gone)
