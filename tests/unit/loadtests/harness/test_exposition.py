from __future__ import annotations

import pytest

from loadtests.harness.exposition import counters_between, parse_counters
from loadtests.harness.measure import Counters, Drafts, StepCosts, Steps

PAGE = """\
# HELP llamapack_step_seconds_total Time in each phase of a step
# TYPE llamapack_step_seconds_total counter
llamapack_step_seconds_total{phase="schedule"} 0.25
llamapack_step_seconds_total{model="m",phase="decode"} 1.5e+01
llamapack_step_seconds_total{model="n",phase="decode"} 5
# TYPE llamapack_steps_total counter
llamapack_steps_total 250.0
llamapack_steps_created 1.7e9
process_cpu_seconds_total 3
"""

DRAFTS = """\
llamacpp:spec_decode_num_drafts_total{model="m"} 4
llamacpp:spec_decode_num_draft_tokens_total{model="m"} 12
llamacpp:spec_decode_num_accepted_tokens_total{model="m"} 5
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{model="m",position="10"} 1
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{model="m",position="2"} 4
llamapack_step_cost_seconds{model="m",rows="1",slots="1"} 0.01
llamapack_step_cost_seconds{model="m",rows="16",slots="1"} 0.05
llamapack_step_cost_seconds{model="m",rows="2",slots="2"} 0.03
"""


def test_counters_are_read_and_other_labels_summed_over() -> None:
    assert parse_counters(PAGE) == Counters(Steps({"schedule": 0.25, "decode": 20.0}, 250.0))


def test_drafts_and_costs_of_steps_are_read() -> None:
    drafts = Drafts(4, 12, 5, (4.0, 1.0))
    costs = StepCosts({1: 0.01, 16: 0.05}, {1: 0.01, 2: 0.03})
    assert parse_counters(DRAFTS) == Counters(None, drafts, costs)


@pytest.mark.parametrize("page", ["", "llamacpp:prompt_tokens_total 12\n"])
def test_a_page_without_them_is_no_error(page: str) -> None:
    assert parse_counters(page) == Counters()


def test_difference_of_two_moments() -> None:
    early, late = StepCosts({1: 0.5}, {1: 0.5}), StepCosts({1: 0.2}, {1: 0.2})
    before = Counters(Steps({"decode": 1.0}, 10), Drafts(1, 3, 1, (1.0,)), early)
    after = Counters(Steps({"decode": 4.0, "send": 0.5}, 40), Drafts(5, 9, 4, (3.0, 1.0)), late)
    assert counters_between(before, after) == Counters(
        Steps({"decode": 3.0, "send": 0.5}, 30), Drafts(4, 6, 3, (2.0, 1.0)), late
    )
    assert counters_between(Counters(), after) == Counters(costs=late)
    assert counters_between(before, Counters()) == Counters()
