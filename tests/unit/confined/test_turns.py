"""Turns: shared fairly between owners, bounded, and given up by work that was called off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from confined.turns import Crowded, FairQueue, Turns
from confined.work import Cancelled, Work


def start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("items", "order"),
    [
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),
        ("a1 a2 b1 b2 c1", "a1 b1 c1 a2 b2"),
    ],
)
def test_owners_take_turns(items: str, order: str) -> None:
    queue: FairQueue[str] = FairQueue()
    for item in items.split():
        queue.add(item[0], item)
    found = []
    while queue:
        found.append(queue.pop())
    assert found == order.split()


def test_a_removed_item_never_comes() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1"):
        queue.add(item[0], item)
    queue.remove("a", "a1")
    queue.remove("b", "b1")
    assert queue.pop() == "a2"
    assert not queue


def test_another_owner_comes_before_the_rest_of_a_flood() -> None:
    turns, order = Turns(1), list[str]()

    def work(owner: str) -> None:
        with turns.turn(Work(owner)):
            order.append(owner)

    with turns.turn(Work("flood")):
        threads = []
        for number, owner in enumerate(["flood"] * 5 + ["other"]):
            threads.append(start(lambda owner=owner: work(owner)))  # type: ignore[misc]
            wait_until(lambda number=number: turns.num_waiting > number)  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert order.index("other") == 1


@pytest.mark.parametrize("most", [1, 2, 5])
def test_beyond_the_bound_only_a_new_owner_may_come(most: int) -> None:
    turns, done = Turns(1, most=most), threading.Event()

    def work() -> None:
        with turns.turn(Work("flood")):
            done.wait()

    threads = [start(work) for _ in range(most)]
    wait_until(lambda: turns.num_waiting == most - 1)
    with pytest.raises(Crowded), turns.turn(Work("flood")):
        pass
    threads.append(start(lambda: turns.turn(Work("other")).__enter__()))
    wait_until(lambda: turns.num_waiting == most)
    done.set()
    for thread in threads:
        thread.join()


def test_work_that_is_called_off_gives_up_its_place() -> None:
    turns, left = Turns(1, most=2), Work("left")
    ends: list[BaseException] = []

    def wait() -> None:
        try:
            with turns.turn(left):
                pass
        except BaseException as error:
            ends.append(error)

    with turns.turn(Work("first")):
        thread = start(wait)
        wait_until(lambda: turns.num_waiting == 1)
        left.cancel()
        thread.join()
        assert [type(error) for error in ends] == [Cancelled]
        assert turns.num_waiting == 0
    with turns.turn(Work("left")):
        pass
