"""Tokens per second of slots."""

from __future__ import annotations

import pytest

from protocol.messages import SlotState
from server.room.speeds import Speeds


def state(request: int | None, computed: int = 0, generated: int = 0, slot: int = 0) -> SlotState:
    return SlotState(
        slot=slot,
        num_cache_tokens=0,
        request_id=request,
        num_prompt_tokens=100,
        num_prompt_tokens_computed=computed,
        num_generated_tokens=generated,
    )


def test_a_steady_speed() -> None:
    speeds = Speeds()
    seen = [speeds.of(state(1, 100, 10 * turn), turn * 0.25) for turn in range(5)]
    assert seen == [0.0, 40.0, 40.0, 40.0, 40.0]


def test_prompts_count_too() -> None:
    speeds = Speeds()
    speeds.of(state(1, 20), 0.0)
    assert speeds.of(state(1, 70), 0.5) == 100.0


@pytest.mark.parametrize("other", [state(2, 100, 50), state(None)])
def test_another_request_begins_anew(other: SlotState) -> None:
    speeds = Speeds()
    speeds.of(state(1, 100, 5), 0.0)
    speeds.of(state(1, 100, 9), 1.0)
    assert speeds.of(other, 2.0) == 0.0


def test_a_report_that_comes_twice_at_once_changes_nothing() -> None:
    speeds = Speeds()
    speeds.of(state(1, 100, 5), 1.0)
    assert speeds.of(state(1, 100, 5), 1.0) == 0.0


def test_slots_have_speeds_of_their_own() -> None:
    speeds = Speeds()
    for slot, speed in ((0, 8), (1, 80)):
        speeds.of(state(1 + slot, 100, 0, slot), 0.0)
        assert speeds.of(state(1 + slot, 100, speed, slot), 1.0) == speed
