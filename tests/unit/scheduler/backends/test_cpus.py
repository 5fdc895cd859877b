"""The number of usable cores."""

from __future__ import annotations

import os

from scheduler.backends.cpus import usable_cores


def test_there_is_a_core_and_never_more_than_we_may_run_on() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
