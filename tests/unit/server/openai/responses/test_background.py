"""The memory of background responses: bounded, and who gives way."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from server.openai.responses import background
from server.openai.responses.answer import Growing
from server.openai.responses.background import BackgroundResponse, Backgrounds

pytestmark = pytest.mark.anyio

BOUND = 10_000


class Named:
    """A response that grows, as far as the registry sees it."""

    def __init__(self, id_: str) -> None:
        self.response = self
        self.id = id_


def new(backgrounds: Backgrounds, owner: str, id_: str) -> BackgroundResponse:
    made = backgrounds.new(owner, cast(Growing, Named(id_)), lambda response, is_running: None)
    backgrounds._running[id_] = made
    return made


def grow(made: BackgroundResponse, num_bytes: int) -> None:
    made._add([{"type": "x", "text": "x" * num_bytes}])


def finish(backgrounds: Backgrounds, made: BackgroundResponse) -> None:
    made.is_finished = made.is_over = True
    backgrounds._finished(made)


async def numbers(made: BackgroundResponse, start: int = 0) -> int:
    """How many events a reader still gets."""
    return len([frame async for frame in made.follow(start)])


async def test_the_owner_that_takes_most_gives_way() -> None:
    backgrounds = Backgrounds(BOUND)
    mine = new(backgrounds, "a", "a0")
    grow(mine, 500)
    finish(backgrounds, mine)
    for number in range(10):
        other = new(backgrounds, "b", f"b{number}")
        grow(other, 4000)
        finish(backgrounds, other)
    assert backgrounds.get("a", "a0") is mine
    assert await numbers(mine) == 1
    kept = [number for number in range(10) if backgrounds.get("b", f"b{number}")]
    # The latest stay.
    assert kept == list(range(10 - len(kept), 10))
    assert 2 <= len(kept) <= 4
    assert backgrounds.get("b", "a0") is None


async def test_a_running_response_loses_its_events_before_anything_ends() -> None:
    backgrounds = Backgrounds(BOUND)
    made = new(backgrounds, "a", "a0")
    made.task = asyncio.create_task(asyncio.sleep(60))
    for _ in range(30):
        grow(made, 1000)
    assert made.event_bytes <= BOUND
    assert not made._is_stopping
    first = made._num_dropped
    assert first > 0
    made.is_over = True
    assert await numbers(made, 0) == 0
    assert await numbers(made, first) == 30 - first
    made.task.cancel()


async def test_the_largest_answer_of_the_heaviest_owner_is_ended() -> None:
    backgrounds = Backgrounds(BOUND)
    responses: dict[str, Any] = {}
    for id_, size in (("a0", 1000), ("b0", 8000), ("b1", 9000), ("a1", 4000)):
        made = responses[id_] = new(backgrounds, id_[0], id_)
        made.task = asyncio.create_task(asyncio.sleep(60))
        made.answer_bytes += size
        made._on_growth(size)
    assert [id_ for id_, made in responses.items() if made._is_stopping] == ["b1"]
    for made in responses.values():
        made.task.cancel()


async def test_the_number_of_kept_responses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MAX_KEPT", 3)
    backgrounds = Backgrounds(BOUND)
    for number in range(6):
        made = new(backgrounds, "a", f"a{number}")
        grow(made, 10)
        finish(backgrounds, made)
    assert [n for n in range(6) if backgrounds.get("a", f"a{n}")] == [3, 4, 5]
