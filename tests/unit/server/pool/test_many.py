"""Models that are loaded on demand and unloaded for others, in virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest

from config import ServeSettings
from server.errors import (
    ApiError,
    InvalidRequest,
    NotFound,
    NotLoaded,
    Overloaded,
    Unavailable,
)
from server.pool.interface import FOR_EVER, ModelState, PoolEvent, PoolEventKind
from server.pool.many import ManyModels
from server.pool.memory import MemoryUse
from server.pool.policy import Limits
from tests.support.fake_engines import MIB, FakeEngines, entry, pool_of
from tests.support.virtual_time import run_virtually

ABC = [entry("a"), entry("b"), entry("c")]


def now() -> float:
    return asyncio.get_running_loop().time()


def state(pool: ManyModels, name: str) -> ModelState:
    return pool.find(name).state


async def use(pool: ManyModels, name: str, seconds: float = 0.0, **options: Any) -> float:
    """Use a model for a while; returns when it was there."""
    async with pool.lease(name, options.pop("tenant", ""), **options):
        began = now()
        await asyncio.sleep(seconds)
    return began


def virtually(work: Coroutine[Any, Any, None]) -> None:
    run_virtually(work)


def test_a_request_loads_its_model_and_the_next_finds_it() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 3.0})
        pool = pool_of(ABC, maker)
        assert state(pool, "a") is ModelState.UNLOADED
        assert await use(pool, "a") == pytest.approx(3.0)
        assert state(pool, "a") is ModelState.LOADED
        assert await use(pool, "a") == pytest.approx(3.0)
        assert maker.events == ["load a"]

    virtually(go())


def test_requests_that_come_together_share_one_load() -> None:
    async def go() -> None:
        maker = FakeEngines()
        pool = pool_of(ABC, maker)
        await asyncio.gather(*(use(pool, "a", 0.5) for _ in range(20)))
        assert maker.events == ["load a"]

    virtually(go())


def test_the_third_evicts_the_idle_one_and_memory_is_never_exceeded() -> None:
    async def go() -> None:
        maker = FakeEngines()
        pool = pool_of(ABC, maker)
        await use(pool, "a")
        await use(pool, "b")
        await use(pool, "c")
        assert maker.events == ["load a", "load b", "stop a", "load c"]
        assert [one.state for one in pool.models()] == [
            ModelState.UNLOADED,
            ModelState.LOADED,
            ModelState.LOADED,
        ]
        assert maker.most_running == 2

    virtually(go())


def test_a_model_that_answers_is_never_unloaded() -> None:
    async def go() -> None:
        maker = FakeEngines()
        pool = pool_of(ABC, maker, Limits(count=1))
        long = asyncio.ensure_future(use(pool, "a", 100.0))
        await asyncio.sleep(5.0)
        assert await use(pool, "b") >= 101.0
        await long
        assert maker.events == ["load a", "stop a", "load b"]

    virtually(go())


def test_what_an_engine_computes_without_a_request_counts_as_use() -> None:
    async def go() -> None:
        maker = FakeEngines()
        pool = pool_of(ABC, maker, Limits(count=1))
        await use(pool, "a")
        maker.engines["a"].num_sequences = 1
        waiting = asyncio.ensure_future(use(pool, "b"))
        await asyncio.sleep(50.0)
        assert state(pool, "a") is ModelState.LOADED
        maker.engines["a"].num_sequences = 0
        assert await waiting < 55.0

    virtually(go())


def test_a_stream_of_requests_for_one_model_does_not_keep_another_out() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 2.0, "b": 2.0})
        pool = pool_of(ABC, maker, Limits(count=1, patience=60.0))
        finished: list[float] = []

        async def steady() -> None:
            while now() < 300.0:
                await use(pool, "a", 0.7)

        flood = [asyncio.ensure_future(steady()) for _ in range(4)]
        await asyncio.sleep(10.0)
        began = now()
        finished.append(await use(pool, "b") - began)
        assert finished[0] < 15.0
        await asyncio.gather(*flood)
        assert maker.num_loads < 10, "one request must not make models thrash"

    virtually(go())


def test_two_busy_models_take_turns_that_are_longer_than_their_loads() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 5.0, "b": 5.0})
        pool = pool_of(ABC, maker, Limits(count=1, patience=500.0))
        counts = {"a": 0, "b": 0}

        async def steady(name: str) -> None:
            while now() < 1000.0:
                await use(pool, name, 1.0)
                counts[name] += 1

        await asyncio.gather(*(steady(name) for name in "ab" for _ in range(3)))
        assert maker.num_loads < 1000 / 10
        assert min(counts.values()) > 0.5 * max(counts.values())

    virtually(go())


def test_a_failed_load_is_told_to_everyone_and_not_tried_again_at_once() -> None:
    async def go() -> None:
        maker = FakeEngines(failures={"a": "the file ends too early"})
        pool = pool_of(ABC, maker)
        results = await asyncio.gather(*(use(pool, "a") for _ in range(5)), return_exceptions=True)
        for result in results:
            assert isinstance(result, NotLoaded)
            assert "a can't be loaded: the file ends too early" in result.message
        with pytest.raises(NotLoaded) as caught:
            await use(pool, "a")
        assert int(caught.value.headers["Retry-After"]) >= 1
        assert maker.num_loads == 1
        served = pool.find("a")
        assert (served.state, served.exit_code) == (ModelState.FAILED, 1)
        await asyncio.sleep(3.0)
        maker.failures.clear()
        await use(pool, "a")
        assert pool.find("a").failure == ""

    virtually(go())


def test_a_file_that_vanished_is_named() -> None:
    async def go() -> None:
        maker = FakeEngines(missing={"a": "there is no file a.gguf"})
        pool = pool_of(ABC, maker)
        with pytest.raises(NotLoaded, match="there is no file"):
            await use(pool, "a")
        await use(pool, "b")

    virtually(go())


def test_an_operator_s_load_tries_again_whatever_failed_before() -> None:
    async def go() -> None:
        maker = FakeEngines(failures={"a": "no"})
        pool = pool_of(ABC, maker)
        with pytest.raises(NotLoaded):
            await pool.load("a")
        maker.failures.clear()
        await pool.load("a")
        assert state(pool, "a") is ModelState.LOADED

    virtually(go())


def test_nobody_waits_longer_than_the_bound() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 1000.0})
        pool = pool_of(ABC, maker, wait_seconds=20.0)
        with pytest.raises(Overloaded, match="within 20 s") as caught:
            await use(pool, "a")
        assert now() == pytest.approx(20.0)
        assert caught.value.reason == "model_wait"

    virtually(go())


def test_only_so_many_wait_but_one_of_each_key_may() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 100.0})
        pool = pool_of(ABC, maker, most_waiting=2)
        flood = [asyncio.ensure_future(use(pool, "a", tenant="x")) for _ in range(3)]
        await asyncio.sleep(1.0)
        with pytest.raises(Overloaded, match="2 requests wait"):
            await flood[2]
        await use(pool, "b", tenant="y")
        await asyncio.gather(*flood[:2])

    virtually(go())


def test_a_client_that_leaves_while_it_waits_uses_nothing() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 10.0})
        pool = pool_of(ABC, maker)
        gone = asyncio.ensure_future(use(pool, "a"))
        await asyncio.sleep(10.0 - 1e-9)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await asyncio.sleep(1.0)
        assert pool.find("a").num_users == 0
        await pool.unload("a")

    virtually(go())


def test_a_model_sleeps_after_its_time_and_wakes_for_a_request() -> None:
    async def go() -> None:
        maker = FakeEngines()
        settings = ServeSettings(alias=("a",), sleep_idle_seconds=30)
        pool = pool_of([entry("a", settings=settings)], maker)
        await use(pool, "a")
        await asyncio.sleep(29.0)
        assert state(pool, "a") is ModelState.LOADED
        await asyncio.sleep(2.0)
        assert state(pool, "a") is ModelState.SLEEPING
        await use(pool, "a")
        assert maker.events == ["load a", "stop a", "load a"]

    virtually(go())


@pytest.mark.parametrize(("keep_alive", "goes_after"), [(0.0, 0.5), (5.0, 6.0), (FOR_EVER, None)])
def test_a_request_says_how_long_its_model_stays(
    keep_alive: float, goes_after: float | None
) -> None:
    async def go() -> None:
        pool = pool_of(ABC, FakeEngines())
        await use(pool, "a", keep_alive=keep_alive)
        served = pool.find("a")
        assert served.is_pinned is (keep_alive == FOR_EVER)
        assert (served.expires_at is None) is (keep_alive == FOR_EVER)
        await asyncio.sleep(goes_after or 10_000.0)
        expected = ModelState.LOADED if goes_after is None else ModelState.SLEEPING
        assert state(pool, "a") is expected

    virtually(go())


def test_pinned_models_stay_and_what_does_not_fit_beside_them_says_so() -> None:
    async def go() -> None:
        pinned = [entry(name, is_pinned=True, load_on_startup=True) for name in "ab"]
        pool = pool_of([*pinned, entry("c")], FakeEngines())
        pool.start()
        await asyncio.sleep(3.0)
        assert state(pool, "a") is state(pool, "b") is ModelState.LOADED
        with pytest.raises(NotLoaded, match="beside a, b, which stay"):
            await use(pool, "c")

    virtually(go())


def test_measured_memory_counts_where_the_estimate_was_wrong() -> None:
    async def go() -> None:
        maker = FakeEngines(needs=dict.fromkeys("abc", MemoryUse(10 * MIB)))
        pool = pool_of(ABC, maker, Limits(memory=MemoryUse(100 * MIB)))
        await use(pool, "a")
        maker.needs["b"] = MemoryUse(95 * MIB)
        await use(pool, "b")
        assert pool.find("b").memory == MemoryUse(95 * MIB)
        await use(pool, "c")
        assert state(pool, "b") is not ModelState.LOADED

    virtually(go())


def test_unloading_waits_for_answers_and_then_ends_them() -> None:
    async def go() -> None:
        maker = FakeEngines()
        pool = pool_of([entry("a", stop_timeout=10.0)], maker)
        short = asyncio.ensure_future(use(pool, "a", 4.0))
        await asyncio.sleep(2.0)
        await pool.unload("a")
        await short
        assert state(pool, "a") is ModelState.UNLOADED

        async def endless() -> None:
            async with pool.lease("a", ""):
                raise await maker.engines["a"].ended

        long = asyncio.ensure_future(endless())
        await asyncio.sleep(2.0)
        began = now()
        await pool.unload("a")
        assert now() - began == pytest.approx(10.0, abs=1.0)
        with pytest.raises(Unavailable, match="a was unloaded"):
            await long

    virtually(go())


def test_unloading_a_model_that_loads_ends_the_load_and_tells_who_waits() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"a": 100.0})
        pool = pool_of(ABC, maker)
        waiting = asyncio.ensure_future(use(pool, "a"))
        await asyncio.sleep(5.0)
        await pool.unload("a")
        with pytest.raises(Unavailable, match="unloaded while it was being loaded"):
            await waiting
        assert (maker.events, maker.running) == (["load a", "stop a"], 0)
        assert state(pool, "a") is ModelState.UNLOADED

    virtually(go())


def test_the_end_of_the_server_ends_loads_and_engines() -> None:
    async def go() -> None:
        maker = FakeEngines(load_seconds={"b": 100.0})
        pool = pool_of(ABC, maker)
        await use(pool, "a")
        waiting = asyncio.ensure_future(use(pool, "b"))
        await asyncio.sleep(1.0)
        await pool.close()
        assert maker.running == 0
        with pytest.raises(ApiError, match="stopping"):
            await waiting
        with pytest.raises(Unavailable, match="stopping"):
            await use(pool, "a")

    virtually(go())


def test_names_aliases_and_latest_find_a_model_and_others_do_not() -> None:
    async def go() -> None:
        high = ServeSettings(alias=("a:high", "a"), temp=0.1)
        one = entry("a", settings=ServeSettings(alias=("a", "second")), variants={"a:high": high})
        pool = pool_of([one, entry("b")], FakeEngines())
        for name in ("a", "second", "a:latest"):
            async with pool.lease(name, "") as context:
                assert context.model_name == "a"
        async with pool.lease("a:high", "") as context:
            assert (context.model_name, context.settings.temp) == ("a:high", 0.1)
        with pytest.raises(NotFound, match="there is no model 'z' here; this server serves"):
            pool.find("z")
        with pytest.raises(InvalidRequest, match="'model' is required"):
            pool.find("")

    virtually(go())


@dataclass
class Sources:
    """Models that a test changes."""

    entries: dict[str, Any]


def test_refreshing_adds_removes_and_renews_models() -> None:
    async def go() -> None:
        sources = Sources({one.name: one for one in ABC})
        loop = asyncio.get_running_loop()
        maker = FakeEngines()
        pool = ManyModels(lambda: sources.entries, maker, Limits(), clock=loop.time)
        await use(pool, "a")
        await use(pool, "b")
        changed = replace(ABC[1], file=(5, 5))
        sources.entries = {"b": changed, "d": entry("d")}
        pool.take_over(sources.entries)
        await asyncio.sleep(1.0)
        assert [one.name for one in pool.models()] == ["b", "d"]
        assert maker.events[-2:] == ["stop a", "stop b"]
        with pytest.raises(NotFound):
            pool.find("a")
        await use(pool, "b")
        assert pool.entry("b").file == (5, 5)

    virtually(go())


def test_listeners_hear_how_a_model_comes_and_goes() -> None:
    async def go() -> None:
        pool = pool_of(ABC, FakeEngines())
        heard: list[PoolEvent] = []

        async def listen() -> None:
            async for event in pool.subscribe():
                heard.append(event)

        listener = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        await use(pool, "a")
        await pool.unload("a")
        await asyncio.sleep(0.1)
        listener.cancel()
        assert {event.kind for event in heard} == {PoolEventKind.STATUS}
        states = [event.served.state for event in heard if event.served]
        assert states == [
            ModelState.LOADING,
            ModelState.LOADED,
            ModelState.UNLOADING,
            ModelState.UNLOADED,
        ]

    virtually(go())


@pytest.mark.parametrize("seconds", [None, 0.0, 0.5, 1.0, 1.5, 2.05, 2.5, 30.0])
def test_a_pool_that_is_closed_leaves_no_task_behind(seconds: float | None) -> None:
    """Whatever it does then: estimates, loads, unloads one model for another, or waits."""

    async def play() -> None:
        maker = FakeEngines()
        first = [entry("a", load_on_startup=True), entry("b"), entry("c")]
        pool = pool_of(first, maker, Limits(count=1))
        pool.start()
        users = [asyncio.create_task(use(pool, name)) for name in ("b", "c", "b")]
        if seconds is not None:
            await asyncio.sleep(seconds)
        await pool.close()
        await asyncio.wait(users)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert maker.running <= 0  # what never loaded is ended too
        answers = [user.exception() for user in users]
        assert all(error is None or isinstance(error, Unavailable) for error in answers)

    run_virtually(play())


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
def test_a_loop_that_ends_without_closing_the_pool_tells_of_no_lost_coroutine(
    seconds: float,
) -> None:
    """Pytest turns the warning into a failure."""

    async def play() -> None:
        pool = pool_of(ABC, FakeEngines(), Limits(count=1))
        for name in "abc":
            task = asyncio.create_task(use(pool, name))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(seconds)

    run_virtually(play())
    gc.collect()
