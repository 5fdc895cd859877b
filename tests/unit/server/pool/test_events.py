"""Who hears of what happens to models."""

from __future__ import annotations

import gc

import pytest

from server.pool.events import MOST_UNREAD, EventBoard
from server.pool.interface import PoolEvent, PoolEventKind

pytestmark = pytest.mark.anyio


def event(name: str) -> PoolEvent:
    return PoolEvent(PoolEventKind.STATUS, name)


async def test_everybody_hears_what_happens_after_the_call() -> None:
    board = EventBoard()
    board.publish(event("before"))
    first, second = board.subscribe(), board.subscribe()
    board.publish(event("after"))
    assert [(await anext(one)).model for one in (first, second)] == ["after", "after"]


async def test_a_slow_reader_misses_the_oldest() -> None:
    board = EventBoard()
    reader = board.subscribe()
    for number in range(MOST_UNREAD + 5):
        board.publish(event(str(number)))
    assert (await anext(reader)).model == "5"


async def test_who_has_left_is_forgotten() -> None:
    board = EventBoard()
    reader = board.subscribe()
    assert len(board) == 1
    board.publish(event("one"))
    assert (await anext(reader)).model == "one"
    del reader
    gc.collect()
    assert not len(board)
