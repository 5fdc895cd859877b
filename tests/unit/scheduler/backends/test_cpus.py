"""The number of usable cores."""

from __future__ import annotations

import os

import pytest

from scheduler.backends.cpus import sampling_threads, usable_cores


def test_there_is_a_core_and_never_more_than_we_may_run_on() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cores", "busy", "n_slots", "expected"),
    [
        (2, 2, 8, 1),  # the model computes on all cores
        (16, 16, 32, 1),
        (2, 1, 8, 1),  # a core for the engine, one for the API process
        (16, 1, 32, 8),  # a GPU computes the model
        (6, 1, 32, 5),
        (16, 12, 32, 4),
        (16, 1, 4, 4),
        (1, 1, 4, 1),
        (4, 8, 4, 1),
    ],
)
def test_sampling_gets_the_cores_that_nothing_else_needs(
    cores: int, busy: int, n_slots: int, expected: int
) -> None:
    assert sampling_threads(0, cores=cores, busy=busy, n_slots=n_slots) == expected


@pytest.mark.parametrize(("wanted", "expected"), [(1, 1), (3, 3), (12, 12), (50, 32)])
def test_the_operator_may_choose_the_threads(wanted: int, expected: int) -> None:
    assert sampling_threads(wanted, cores=2, busy=2, n_slots=32) == expected
