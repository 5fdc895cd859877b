"""Several sequences of one request, and work that ends when its client disconnects."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from protocol.commands import SequenceSpec
from protocol.sampling import SamplingParams
from server.errors import EngineFailed
from server.generation.choices import open_choices
from server.generation.types import Ended, GenerationRequest, TextDelta
from server.http.disconnect import while_connected
from tests.support.fake_server import ScriptedGenerator
from tests.support.live import DEADLINE

pytestmark = pytest.mark.anyio


def requests(count: int) -> list[GenerationRequest]:
    return [
        GenerationRequest(spec=SequenceSpec(prompt=(1,), sampling=SamplingParams()))
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [1, 3])
async def test_all_items_come_with_their_index(count: int) -> None:
    generator = ScriptedGenerator(pieces=["a", "b"])
    texts = [""] * count
    ended = []
    async with open_choices(generator, requests(count)) as items:
        async for index, item in items:
            if isinstance(item, TextDelta):
                texts[index] += item.text
            elif isinstance(item, Ended):
                ended.append(index)
    assert texts == ["ab"] * count
    assert sorted(ended) == list(range(count))
    assert generator.running == generator.aborted == 0


async def test_choices_run_side_by_side() -> None:
    generator = ScriptedGenerator(pieces=["a"] * 5, delay=0.01)
    async with open_choices(generator, requests(2)) as items:
        order = [index async for index, _ in items]
    assert order[:4] in ([0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1])


@pytest.mark.parametrize("count", [1, 3])
async def test_leaving_early_aborts_all(count: int) -> None:
    generator = ScriptedGenerator(pieces=["a"] * 100, delay=0.001)
    async with open_choices(generator, requests(count)) as items:
        await anext(items)
        assert generator.running == count
    assert generator.running == 0
    assert generator.aborted == count


@pytest.mark.parametrize("count", [1, 3])
async def test_one_failure_ends_all(count: int) -> None:
    generator = ScriptedGenerator(fail_after=(1, EngineFailed("broken")))

    async def read_all() -> None:
        async with open_choices(generator, requests(count)) as items:
            async for _ in items:
                pass

    with pytest.raises(EngineFailed, match="broken"):
        await read_all()
    assert generator.running == 0


def request_of(gone: asyncio.Event) -> Request:
    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_work_for_a_client_that_stays() -> None:
    async def work() -> int:
        await asyncio.sleep(0.01)
        return 5

    assert await while_connected(request_of(asyncio.Event()).receive, work()) == 5


async def test_work_for_a_client_that_leaves_is_cancelled() -> None:
    gone, cleaned = asyncio.Event(), []

    async def work() -> None:
        try:
            gone.set()
            await asyncio.sleep(1000)
        finally:
            cleaned.append(True)

    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(while_connected(request_of(gone).receive, work()), DEADLINE)
    assert cleaned == [True]


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise EngineFailed("broken")

    with pytest.raises(EngineFailed, match="broken"):
        await while_connected(request_of(asyncio.Event()).receive, work())


async def test_being_cancelled_cancels_the_work() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cleaned.append(True)

    task = asyncio.create_task(while_connected(request_of(asyncio.Event()).receive, work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]
