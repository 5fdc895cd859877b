"""Models of a pool that have to be downloaded first: what they take, and when they go."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from server.errors import NotFound, NotLoaded, Unavailable
from server.pool.interface import ModelState, PoolEvent, PoolEventKind
from server.pool.many import ManyModels
from server.pool.memory import MemoryUse
from server.pool.policy import Limits
from tests.support.fake_engines import MIB, FakeEngines, entry, pool_of
from tests.support.virtual_time import run_virtually

ABC = [entry("a"), entry("b"), entry("c")]
SECONDS = 100.0
"""Of the download of c, which has 60 MiB."""


def fetching(need: int = 50) -> tuple[FakeEngines, ManyModels]:
    """A pool with room for two models, of which c has to be downloaded."""
    needs = {"a": MemoryUse(50 * MIB), "b": MemoryUse(50 * MIB), "c": MemoryUse(need * MIB)}
    maker = FakeEngines(needs=needs, downloads={"c": (60 * MIB, SECONDS)})
    return maker, pool_of(ABC, maker, Limits(memory=MemoryUse(100 * MIB), patience=500.0))


async def use(pool: ManyModels, name: str, seconds: float = 0.0) -> None:
    async with pool.lease(name, ""):
        await asyncio.sleep(seconds)


def state(pool: ManyModels, name: str) -> ModelState:
    return pool.find(name).state


def virtually(work: Coroutine[Any, Any, None]) -> None:
    run_virtually(work)


def test_others_stay_until_the_download_is_complete() -> None:
    async def go() -> None:
        maker, pool = fetching()
        await use(pool, "a")
        await use(pool, "b")
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.9 * SECONDS)
        assert state(pool, "c") is ModelState.LOADING
        assert state(pool, "a") is state(pool, "b") is ModelState.LOADED
        await asked
        assert maker.events == ["load a", "load b", "fetch c", "stop a", "load c"]
        assert maker.most_running == 2

    virtually(go())


def test_its_size_is_told_once_it_is_known() -> None:
    async def go() -> None:
        _, pool = fetching()
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.25 * SECONDS)
        early = pool.find("c")
        assert (early.memory, early.progress) == (None, 0.0)
        await asyncio.sleep(0.5 * SECONDS)
        late = pool.find("c")
        assert (late.memory, late.progress) == (MemoryUse(60 * MIB), 0.5)
        await asked
        assert pool.find("c").memory == MemoryUse(50 * MIB)

    virtually(go())


def test_one_that_turns_out_too_large_is_refused() -> None:
    async def go() -> None:
        maker, pool = fetching(need=150)
        with pytest.raises(NotLoaded, match="it needs 150 MiB"):
            await use(pool, "c")
        assert maker.events == ["fetch c"]
        assert state(pool, "c") is ModelState.FAILED

    virtually(go())


@pytest.mark.parametrize("need", [MemoryUse(150 * MIB), MemoryUse(50 * MIB, 30 * MIB)])
def test_one_that_is_known_to_be_too_large_is_not_downloaded(need: MemoryUse) -> None:
    async def go() -> None:
        maker = FakeEngines(downloads={"c": (60 * MIB, SECONDS)}, foreseen={"c": need})
        limits = Limits(memory=MemoryUse(100 * MIB, 20 * MIB))
        pool = pool_of(ABC, maker, limits)
        text = f"it needs {need.host // MIB} MiB of host memory.*the limit is 100 MiB.*20 MiB"
        for _ in range(2):  # also while nobody may try again
            with pytest.raises(NotLoaded, match=f"c can't be loaded: {text}.*not downloaded"):
                await use(pool, "c")
        assert (maker.events, state(pool, "c")) == ([], ModelState.FAILED)
        maker.foreseen["c"] = maker.needs["c"] = MemoryUse(100 * MIB, 20 * MIB)
        await asyncio.sleep(10)
        await use(pool, "c")
        assert maker.events == ["fetch c", "load c"]

    virtually(go())


def test_one_that_can_t_come_beside_a_pinned_one_is_not_downloaded() -> None:
    async def go() -> None:
        maker, _ = fetching()
        maker.foreseen["c"] = maker.needs["c"]
        pinned = [entry("a", is_pinned=True), *ABC[1:]]
        pool = pool_of(pinned, maker, Limits(memory=MemoryUse(90 * MIB)))
        await use(pool, "b")
        assert "fetch c" not in maker.events
        await use(pool, "a")  # b goes
        with pytest.raises(NotLoaded, match="beside a, which stay"):
            await use(pool, "c")
        assert "fetch c" not in maker.events

    virtually(go())


@pytest.mark.parametrize(("need", "is_refused"), [(99, False), (101, False), (121, True)])
def test_without_a_limit_what_the_whole_machine_can_t_hold_is_not_downloaded(
    need: int, is_refused: bool
) -> None:
    async def go() -> None:
        maker, _ = fetching(need)
        maker.foreseen["c"] = MemoryUse(need * MIB)
        limits = Limits(memory=MemoryUse(100 * MIB), patience=500.0)
        pool = pool_of(ABC, maker, limits, machine=MemoryUse(120 * MIB))
        if is_refused:
            with pytest.raises(NotLoaded, match=r"needs 121 MiB.*the limit is 120 MiB"):
                await use(pool, "c")
        else:
            await use(pool, "c")
        assert maker.events == ([] if is_refused else ["fetch c", "load c"])

    virtually(go())


def test_a_download_that_fails_is_told_to_all_who_wait() -> None:
    async def go() -> None:
        maker, pool = fetching()
        maker.missing["c"] = "the hub has no such model"
        found = await asyncio.gather(use(pool, "c"), use(pool, "c"), return_exceptions=True)
        assert [str(error) for error in found] == [
            "c can't be loaded: the hub has no such model"
        ] * 2
        assert state(pool, "c") is ModelState.FAILED

    virtually(go())


def test_unloading_ends_the_download() -> None:
    async def go() -> None:
        maker, pool = fetching()
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.5 * SECONDS)
        await pool.unload("c")
        assert state(pool, "c") is ModelState.UNLOADED
        with pytest.raises(Unavailable, match="c was unloaded while"):
            await asked
        assert maker.events == ["fetch c"]
        await use(pool, "c")
        assert maker.events == ["fetch c", "fetch c", "load c"]

    virtually(go())


def test_a_model_that_is_gone_from_the_sources_is_not_downloaded_on() -> None:
    async def go() -> None:
        _, pool = fetching()
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.5 * SECONDS)
        pool.take_over({one.name: one for one in ABC[:2]})
        with pytest.raises(NotFound):
            await asked
        assert [model.name for model in pool.models()] == ["a", "b"]

    virtually(go())


def test_a_model_that_changes_meanwhile_is_prepared_anew() -> None:
    async def go() -> None:
        maker, pool = fetching()
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.5 * SECONDS)
        pool.take_over({one.name: one for one in [*ABC[:2], entry("c", stop_timeout=1.0)]})
        await asked
        assert maker.events == ["fetch c", "fetch c", "load c"]

    virtually(go())


def test_what_nobody_waits_for_any_more_is_downloaded_and_not_loaded() -> None:
    async def go() -> None:
        maker, pool = fetching()
        events: list[PoolEvent] = []

        async def follow() -> None:
            async for event in pool.subscribe():
                events.append(event)

        following = asyncio.ensure_future(follow())
        await asyncio.sleep(0)
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.5 * SECONDS)
        asked.cancel()
        await asyncio.sleep(SECONDS)
        assert (state(pool, "c"), maker.events) == (ModelState.UNLOADED, ["fetch c"])
        told = [one.served.state for one in events if one.served is not None]
        assert {one.kind for one in events} == {PoolEventKind.STATUS}
        assert told == [ModelState.LOADING, ModelState.UNLOADED]
        await use(pool, "c")
        assert maker.events == ["fetch c", "load c"]
        following.cancel()

    virtually(go())


def test_closing_ends_the_download() -> None:
    async def go() -> None:
        maker, pool = fetching()
        asked = asyncio.ensure_future(use(pool, "c"))
        await asyncio.sleep(0.5 * SECONDS)
        await pool.close()
        with pytest.raises(Unavailable, match="stopping"):
            await asked
        assert maker.downloaded == set()

    virtually(go())
