"""The order of the queue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.sequence import Sequence
from scheduler.policy import waiting_lane
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


def users(first: int, user: str, count: int, **fields: Any) -> list[Sequence]:
    """Sequences of one user of a key."""
    return [sequence(first + i, user=user, **{"tenant": "key"} | fields) for i in range(count)]


def test_the_users_of_a_key_take_turns() -> None:
    served = order(queue(*users(0, "flood", 10), *users(100, "light", 3)))
    assert [served.index(request_id) for request_id in (100, 101, 102)] == [1, 3, 5]
    assert [request_id for request_id in served if request_id < 100] == list(range(10))


@pytest.mark.parametrize("num_users", [1, 2, 7, 20])
@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_a_key_gains_nothing_by_naming_users(num_users: int, weight: float) -> None:
    """Whatever users one key names, the other one is served at the same places."""

    def places(num_users: int) -> list[int]:
        named = [
            sequence(i, user=str(i % num_users), tenant="many", weight=weight) for i in range(20)
        ]
        plain = [sequence(100 + i, tenant="plain") for i in range(10)]
        served = order(queue(*named[:10], *plain, *named[10:]))
        return [served.index(item.request_id) for item in plain]

    assert places(num_users) == places(1)


def test_a_user_who_comes_late_goes_before_the_floods_of_others_alone() -> None:
    waiting = queue(*users(0, "flood", 6), *(sequence(50 + i, tenant="other") for i in range(6)))
    for _ in range(4):
        waiting.start(next(iter(waiting)))
    for item in users(100, "late", 1):
        waiting.append(item)
    served = order(waiting)
    # The key has no more turns by that: what one user gets, another user of the key waits for.
    assert served[:5] == [2, 52, 100, 53, 3]


def test_without_keys_nobody_is_told_apart_by_what_he_says() -> None:
    invented = [sequence(100 + i, user=f"new {i}") for i in range(5)]
    served = order(queue(*(sequence(i) for i in range(5)), *invented))
    assert served == [*range(5), *range(100, 105)]


def test_a_sequence_that_leaves_the_queue_costs_its_tenant_nothing() -> None:
    flood = [sequence(i, tenant="a") for i in range(10)]
    waiting = queue(*flood, *(sequence(100 + i, tenant="b") for i in range(10)))
    for item in flood[:9]:
        waiting.remove(item)
    assert order(waiting).index(9) <= 1


def test_users_who_are_invented_one_after_the_other_starve_nobody() -> None:
    waiting = queue(*users(0, "steady", 5))
    served = []
    for i in range(20):
        waiting.append(sequence(100 + i, user=f"new {i}", tenant="key"))
        first = next(iter(waiting))
        waiting.start(first)
        served.append(first.request_id)
    assert [served.index(i) for i in range(5)] <= [2 * i + 1 for i in range(5)]


def test_users_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lane, "MAX_USERS", 4)
    waiting = queue(*users(0, "flood", 3))
    for i in range(50):
        waiting.append(sequence(100 + i, user=str(i), tenant="key"))
        waiting.start(next(iter(waiting)))
    [lane] = waiting._lanes.values()
    assert len(lane._user_ends) <= 10


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "u", "v", "w"])), max_size=30),
    st.data(),
)
def test_other_keys_never_notice_the_users_of_a_key(
    arrivals: list[tuple[str, str]], data: st.DataObject
) -> None:
    """With sequences of one cost, the tenants' turns are the same with users and without."""
    steps = data.draw(st.lists(st.booleans(), min_size=len(arrivals), max_size=len(arrivals)))

    def turns(*, with_users: bool) -> list[str]:
        waiting, turns = WaitingQueue(), []
        for number, ((tenant, user), serves) in enumerate(zip(arrivals, steps, strict=True)):
            user = user if with_users else ""
            waiting.append(sequence(number, tenant=tenant, user=user))
            if serves:
                first = next(iter(waiting))
                waiting.start(first)
                turns.append(first.spec.tenant)
        return [*turns, *(arrivals[number][0] for number in order(waiting))]

    assert turns(with_users=True) == turns(with_users=False)


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
