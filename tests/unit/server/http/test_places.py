"""Places for requests that are prepared: fair turns, and waits that are given up."""

from __future__ import annotations

import asyncio

import pytest

from server.http.places import Place, Places


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_another_tenant_comes_before_the_rest_of_a_flood() -> None:
    places, order = Places(1), list[str]()

    async def request(tenant: str) -> None:
        place = await places.take(tenant)
        order.append(tenant)
        place.leave()

    first = await places.take("flood")
    async with asyncio.TaskGroup() as group:
        for tenant in ["flood"] * 5 + ["other"]:
            group.create_task(request(tenant))
        await settled()
        assert places.num_waiting == 6
        first.leave()
    assert order.index("other") == 1


@pytest.mark.anyio
@pytest.mark.parametrize("is_granted", [False, True])
async def test_a_wait_that_is_given_up_blocks_nobody(is_granted: bool) -> None:
    places = Places(1)
    first = await places.take("a")
    waiting = asyncio.create_task(places.take("a"))
    await settled()
    if is_granted:  # in the same turn of the loop
        first.leave()
    waiting.cancel()
    await asyncio.wait([waiting])
    first.leave()
    assert places.num_waiting == 0
    assert isinstance(await places.take("b"), Place)


@pytest.mark.anyio
async def test_leaving_twice_frees_one_place() -> None:
    places = Places(1)
    first = await places.take("a")
    first.leave()
    first.leave()
    await places.take("a")
    waiting = asyncio.create_task(places.take("a"))
    await settled()
    assert not waiting.done()
    waiting.cancel()
