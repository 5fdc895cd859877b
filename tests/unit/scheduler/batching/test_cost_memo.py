"""Results are remembered until the costs change."""

from __future__ import annotations

from scheduler.batching.cost_memo import MAX_REMEMBERED, CostMemo
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import MicroBatch


class Desk:
    """A memo over two costs, and a count of what was computed."""

    def __init__(self) -> None:
        self.costs = [StepCost({1: 1.0}, {1: 1.0}) for _ in range(2)]
        self.memo: CostMemo[int, int] = CostMemo(*self.costs, None)
        self.num_computed = 0

    def get(self, key: int) -> int:
        return self.memo.get(key, lambda: self.compute(key))

    def compute(self, key: int) -> int:
        self.num_computed += 1
        return 10 * key


def test_a_result_is_computed_once() -> None:
    desk = Desk()
    assert [desk.get(1), desk.get(1), desk.get(2)] == [10, 10, 20]
    assert desk.num_computed == 2


def test_it_is_computed_again_once_any_cost_has_changed() -> None:
    desk = Desk()
    for number, cost in enumerate(desk.costs, 1):
        desk.get(1)
        while cost.version == 0:
            cost.observe([MicroBatch(1, 1)], 3.0)
        desk.get(1)
        assert desk.num_computed == number + 1


def test_it_does_not_grow_without_end() -> None:
    desk = Desk()
    for key in range(3 * MAX_REMEMBERED):
        assert desk.get(key) == 10 * key
    assert desk.get(0) == 0
    assert desk.num_computed == 3 * MAX_REMEMBERED + 1
