from __future__ import annotations

import pytest

from loadtests.exposition import parse_steps, steps_between
from loadtests.measure import Steps

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


def test_counters_are_read_and_other_labels_summed_over() -> None:
    assert parse_steps(PAGE) == Steps({"schedule": 0.25, "decode": 20.0}, 250.0)


@pytest.mark.parametrize("page", ["", "llamacpp:prompt_tokens_total 12\n"])
def test_a_page_without_them_is_no_error(page: str) -> None:
    assert parse_steps(page) is None


def test_difference_of_two_moments() -> None:
    before = Steps({"decode": 1.0}, 10)
    after = Steps({"decode": 4.0, "send": 0.5}, 40)
    assert steps_between(before, after) == Steps({"decode": 3.0, "send": 0.5}, 30)
    assert steps_between(None, after) is None
    assert steps_between(before, None) is None
