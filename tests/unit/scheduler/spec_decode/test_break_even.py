"""What draft tokens must be worth."""

from __future__ import annotations

import pytest

from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.batch_seconds import BatchSeconds
from scheduler.spec_decode.break_even import BreakEvens


@pytest.mark.parametrize("count", [1, 4])
def test_the_break_even_is_what_the_time_would_yield_otherwise(count: int) -> None:
    """At 8 tokens a second. A step takes 100 ms, and 10 ms for each row but the first."""
    step = StepCost(*[{rows: 0.1 + 0.01 * (rows - 1) for rows in range(1, 65)}] * 2)
    draft = StepCost(*[{1: 0.005, 64: 0.005}] * 2)
    break_even = BreakEvens(BatchSeconds(step, draft)).of(count, 8.0, 4)
    assert break_even.verifying == pytest.approx([0.08 * n for n in range(5)])
    drafting = 8.0 * 0.005 / count  # together they take as long as one
    assert break_even.min_joint_probability[-1] == pytest.approx(0.08 + drafting)
    assert break_even.min_joint_probability[0] < break_even.min_joint_probability[-1] * 1.3
