"""Requests that are prepared in threads: what remains when the client leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from confined.work import current_work
from server.http.large_bodies import Lane
from server.http.places import Places
from server.requests.threads import _called

pytestmark = pytest.mark.anyio


def waits(begun: threading.Event, left: threading.Event) -> Callable[[], None]:
    """Work that goes on until it is called off."""

    def call() -> None:
        with current_work().stopped_by(left.set):
            begun.set()
            left.wait(30)

    return call


@pytest.mark.parametrize("lane", [None, Lane()])
async def test_work_for_a_client_that_left_ends_silently_and_frees_its_place(
    lane: Lane | None,
) -> None:
    told: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: told.append(context))
    places = Places(1)
    for _ in range(3):
        begun, left = threading.Event(), threading.Event()
        task = asyncio.ensure_future(_called(waits(begun, left), places, "", lane))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _called(lambda: 5, places, "", lane) == 5
    await asyncio.sleep(0)
    gc.collect()
    assert told == []
