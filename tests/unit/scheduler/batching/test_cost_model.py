"""The expected time of steps."""

from __future__ import annotations

import pytest

from protocol.messages import StepCosts
from scheduler.batching.cost_model import MAX_RATIO, StepCost
from scheduler.batching.micro_batches import MicroBatch

PREFILL = {1: 0.010, 2: 0.030, 4: 0.040, 64: 0.400}
DECODE = {1: 0.010, 2: 0.031, 4: 0.041}


def make_cost() -> StepCost:
    return StepCost(DECODE, PREFILL)


def test_points_are_what_was_measured_and_between_them_are_lines() -> None:
    cost = make_cost()
    assert cost.micro_batch_seconds(1, 2) == 0.030
    assert cost.micro_batch_seconds(2, 2) == 0.031
    assert cost.micro_batch_seconds(1, 3) == pytest.approx(0.035)
    assert cost.micro_batch_seconds(1, 128) == pytest.approx(0.4 + 64 * 0.36 / 60)


def test_a_batch_costs_what_its_pieces_cost() -> None:
    assert make_cost().seconds([MicroBatch(2, 2), MicroBatch(1, 4)]) == pytest.approx(0.071)


def test_a_machine_that_gets_slower_is_followed() -> None:
    cost = make_cost()
    for _ in range(200):
        cost.observe([MicroBatch(1, 1)], 0.020)
    assert cost.micro_batch_seconds(1, 1) == pytest.approx(0.020, rel=0.05)
    assert cost.micro_batch_seconds(1, 64) > 0.450


def test_a_point_that_was_measured_wrongly_is_corrected() -> None:
    cost = make_cost()
    for _ in range(300):
        cost.observe([MicroBatch(1, 1)], 0.010)
        cost.observe([MicroBatch(1, 4)], 0.015)
    assert cost.micro_batch_seconds(1, 4) == pytest.approx(0.015, rel=0.1)
    assert cost.micro_batch_seconds(1, 1) == pytest.approx(0.010, rel=0.1)


def test_one_disturbed_step_changes_little() -> None:
    cost = make_cost()
    cost.observe([MicroBatch(1, 1)], 60.0)
    assert cost.micro_batch_seconds(1, 1) < 0.010 * MAX_RATIO**0.25


def test_decisions_are_told_when_the_costs_have_changed() -> None:
    cost = make_cost()
    cost.observe([MicroBatch(1, 1)], 0.010)
    assert cost.version == 0
    for _ in range(10):
        cost.observe([MicroBatch(1, 1)], 0.015)
    assert cost.version > 0


def test_the_table_has_every_point() -> None:
    assert make_cost().table() == StepCosts(by_rows=PREFILL, by_slots=DECODE)
