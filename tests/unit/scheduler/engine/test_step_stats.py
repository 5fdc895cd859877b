"""The statistics of steps."""

from __future__ import annotations

from scheduler.batching.cost_model import StepCost
from scheduler.engine.calibration import Costs
from scheduler.engine.step_stats import STEPS_BETWEEN_COSTS
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import make_engine, make_request, prompt


def test_a_step_says_what_it_did() -> None:
    engine = make_engine(FakeBackend())
    engine.add_request(make_request(1, prompt(5)))
    engine.step()
    engine.add_request(make_request(2, prompt(7, family=1)))
    stats = engine.step(send_seconds=0.25).outputs().stats
    assert stats is not None
    assert (stats.num_decode_tokens, stats.num_prefill_tokens) == (1, 7)
    assert (stats.num_running, stats.num_waiting, stats.num_cache_tokens) == (2, 0, 13)
    assert stats.send_seconds == 0.25


def test_steps_of_equal_shape_reuse_the_graph() -> None:
    engine = make_engine(FakeBackend(n_slots=2, next_token=lambda tokens: 9))
    engine.add_request(make_request(1, prompt(5), max_tokens=8))
    engine.add_request(make_request(2, prompt(5, family=1), max_tokens=6))
    stats = [engine.step().outputs().stats for _ in range(8)]
    # The prompts, then two answers, then one.
    assert [one and one.num_reused_graphs for one in stats] == [0, 0, 1, 1, 1, 1, 0, 1]


def test_costs_come_with_the_first_step_and_seldom_after_it() -> None:
    costs = Costs(StepCost({1: 1.0}, {1: 1.0}))
    engine = make_engine(FakeBackend(n_ctx_slot=1000, next_token=lambda tokens: 9), costs=costs)
    engine.add_request(make_request(1, prompt(5)))
    stats = [engine.step().outputs().stats for _ in range(STEPS_BETWEEN_COSTS + 2)]
    with_costs = [index for index, one in enumerate(stats) if one and one.costs is not None]
    assert with_costs == [0, STEPS_BETWEEN_COSTS]
