"""The room: nobody is asked for nothing, one asks for all, and a slow reader misses no state."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from protocol.cache_lookup import CacheLookup, CacheResult, CacheTier
from protocol.messages import CacheNode, CacheReport, SlotReport
from server.engine.history import SequenceHistory
from server.errors import Overloaded
from server.pool.interface import PoolEvent, PoolEventKind
from server.pool.one import OneModel
from server.room.room import MAX_READERS, Room
from server.room.schema import ServerView
from tests.support.fake_server import MODEL_NAME, FakeServer, make_server
from tests.support.inprocess import wait_until

pytestmark = pytest.mark.anyio

PERIOD = 0.01
DEADLINE = 120.0


@pytest.fixture
def server() -> FakeServer:
    return make_server()


class Watched:
    """A room on the fakes."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.pool = OneModel(server.context)
        self.is_over = False
        self.room = Room(
            self.pool,
            lambda: ServerView("1", 0.0, False, True, True, 0),
            is_over=lambda: self.is_over,
            period=PERIOD,
        )


@pytest.fixture
def watched(server: FakeServer) -> Watched:
    return Watched(server)


async def following(frames: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(DEADLINE):
        frame = await anext(frames)
    head, data = frame.decode().split("\n", 1)
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def history(**fields: Any) -> SequenceHistory:
    known: dict[str, Any] = {
        "request_id": 7,
        "tenant": "alice",
        "salt": "",
        "is_embedding": False,
        "priority": 0,
        "num_prompt_tokens": 30,
        "num_generated_tokens": 4,
        "num_draft_tokens": 0,
        "num_accepted_tokens": 0,
        "queued": 1.0,
        "started": 2.0,
        "first_token": 3.0,
        "ended": None,
        "slot": 1,
        "lookup": CacheLookup(CacheResult.PARTED, CacheTier.COPY, 20, 21),
        "num_deaths": 0,
        "outcome": "",
    }
    return SequenceHistory(**(known | fields))


async def test_nobody_looks_and_nobody_is_asked(watched: Watched) -> None:
    await asyncio.sleep(10 * PERIOD)
    assert watched.server.engine.num_questions == 0
    with watched.room.enter():
        await following(watched.room.frames())
    asked = watched.server.engine.num_questions
    assert asked > 0
    await asyncio.sleep(10 * PERIOD)
    assert watched.server.engine.num_questions == asked


async def test_a_snapshot_then_what_changed(watched: Watched) -> None:
    engine = watched.server.engine
    with watched.room.enter():
        frames = watched.room.frames()
        kind, first = await following(frames)
        assert kind == "snapshot"
        shown = first["engines"][MODEL_NAME]
        assert [slot["state"] for slot in shown["slots"]] == ["idle"] * 4
        assert shown["facts"]["state"] == "ready"
        assert first["models"][0]["name"] == MODEL_NAME
        engine.busy, engine.num_sequences = 1, 1
        engine.past = [history(request_id=100)]
        slots: list[dict[str, Any]] = []
        while not slots:
            kind, changed = await following(frames)
            assert kind == "update"
            slots = changed.get("engines", {}).get(MODEL_NAME, {}).get("slots", [])
        (slot,) = slots
        assert (slot["id"], slot["state"], slot["key"]) == (0, "answer", "alice")
        assert "facts" not in changed["engines"][MODEL_NAME]
        assert "server" not in changed


async def test_an_item_that_goes_on_comes_with_what_changed_of_it(watched: Watched) -> None:
    engine = watched.server.engine
    engine.num_sequences = 1
    engine.past = [history(), history(request_id=8)]
    with watched.room.enter():
        frames = watched.room.frames()
        await following(frames)
        engine.past = [
            history(num_generated_tokens=9),
            history(request_id=8),
            history(request_id=9),
        ]
        requests: list[dict[str, Any]] = []
        while not requests:
            _, changed = await following(frames)
            requests = changed.get("engines", {}).get(MODEL_NAME, {}).get("requests", [])
    grown, new = requests
    assert grown == {"id": 7, "answer_tokens": 9}
    assert (new["id"], new["key"], new["answer_tokens"]) == (9, "alice", 4)


async def test_looks_that_take_long_come_seldom(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = itertools.count()
    monkeypatch.setattr("server.room.room.time.thread_time", lambda: next(spent) * 50 * PERIOD)
    watched.server.engine.num_sequences = 1
    with watched.room.enter():
        await following(watched.room.frames())
        await asyncio.sleep(40 * PERIOD)
        assert watched.server.engine.num_questions == 1


async def test_a_request_tells_its_times_and_what_the_cache_had(watched: Watched) -> None:
    watched.server.engine.past = [
        history(ended=4.0, outcome="stop"),
        history(request_id=8, started=None, first_token=None, slot=None, lookup=None),
    ]
    with watched.room.enter():
        _, first = await following(watched.room.frames())
    over, waiting = first["engines"][MODEL_NAME]["requests"]
    assert over["state"] == "stop"
    assert [over[k] - over["queued"] for k in ("started", "first_token", "ended")] == [1, 2, 3]
    assert over["cache"] == {
        "result": "parted",
        "source": "copy",
        "checkpoint": False,
        "reused": 20,
        "shared": 21,
    }
    assert (waiting["state"], waiting["cache"]) == ("waiting", None)
    queue = first["engines"][MODEL_NAME]["queue"]
    assert (queue["waiting"], queue["waiting_tokens"]) == (1, 30)
    assert queue["first"][0]["request"] == 8


async def test_a_server_at_rest_sends_nothing_and_is_hardly_asked(watched: Watched) -> None:
    with watched.room.enter():
        frames = watched.room.frames()
        await following(frames)
        following_frame = asyncio.ensure_future(anext(frames))
        await asyncio.sleep(40 * PERIOD)
        assert not following_frame.done()
        assert watched.server.engine.num_questions <= 12
        following_frame.cancel()
        await asyncio.wait((following_frame,))


async def test_many_readers_cost_one_asker(watched: Watched) -> None:
    watched.server.engine.num_sequences = 1
    with watched.room.enter(), watched.room.enter(), watched.room.enter():
        readers = [watched.room.frames() for _ in range(3)]
        frames = [await anext(reader) for reader in readers]
        await wait_until(lambda: watched.server.engine.num_questions >= 5)
    assert frames[0] is frames[1] is frames[2]


async def test_a_reader_that_missed_an_update_gets_a_snapshot(watched: Watched) -> None:
    engine = watched.server.engine
    engine.num_sequences = 1
    with watched.room.enter(), watched.room.enter():
        slow, quick = watched.room.frames(), watched.room.frames()
        assert (await following(slow))[0] == "snapshot"
        await following(quick)
        for busy in (1, 2, 3):
            engine.busy = busy
            assert (await following(quick))[0] == "update"
        kind, shown = await following(slow)
        assert kind == "snapshot"
        states = [slot["state"] for slot in shown["engines"][MODEL_NAME]["slots"]]
        assert states.count("answer") == 3


async def test_the_stream_ends_with_the_server(watched: Watched) -> None:
    with watched.room.enter():
        frames = watched.room.frames()
        await following(frames)
        watched.is_over = True
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(StopAsyncIteration):
                await anext(frames)


async def test_one_after_the_other(watched: Watched) -> None:
    """The last one to go takes the asker along; the next one begins anew."""
    for busy in (0, 2):
        watched.server.engine.busy = busy
        with watched.room.enter():
            kind, shown = await following(watched.room.frames())
        assert kind == "snapshot"
        states = [slot["state"] for slot in shown["engines"][MODEL_NAME]["slots"]]
        assert states.count("answer") == busy
    assert watched.room.num_readers == 0


async def test_too_many_readers_are_refused(watched: Watched) -> None:
    entered = [watched.room.enter() for _ in range(MAX_READERS)]
    for one in entered:
        one.__enter__()
    with pytest.raises(Overloaded):
        watched.room.enter().__enter__()
    for one in entered:
        one.__exit__(None, None, None)
    assert watched.room.num_readers == 0


async def test_an_engine_that_loads_or_is_down(watched: Watched) -> None:
    engine = watched.server.engine
    engine.loaded = engine.is_ready = False
    with watched.room.enter():
        frames = watched.room.frames()
        _, first = await following(frames)
        shown = first["engines"][MODEL_NAME]
        assert (shown["facts"]["state"], shown["slots"]) == ("loading", [])
        engine.outage = "no memory"
        while True:
            _, changed = await following(frames)
            facts = changed.get("engines", {}).get(MODEL_NAME, {}).get("facts")
            if facts:
                break
        assert (facts["state"], facts["message"]) == ("down", "no memory")


async def test_a_download_is_told(watched: Watched) -> None:
    with watched.room.enter():
        frames = watched.room.frames()
        await following(frames)
        seen: list[dict[str, Any]] = []
        for kind, data in (
            (PoolEventKind.DOWNLOAD_PROGRESS, {"a.gguf": {"done": 5, "total": 10}}),
            (PoolEventKind.DOWNLOAD_PROGRESS, {"b.gguf": {"done": 1, "total": 90}}),
            (PoolEventKind.DOWNLOAD_FAILED, {"reason": "no room", "cancelled": False}),
            (PoolEventKind.DOWNLOAD_PROGRESS, {"a/b": {"done": 0, "total": 0}}),
            (PoolEventKind.DOWNLOAD_FAILED, {"reason": "called off", "cancelled": True}),
        ):
            watched.pool.publish(PoolEvent(kind, "a/b", data=data))
            while not (downloads := (await following(frames))[1].get("downloads")):
                pass
            seen += downloads
    assert {download["model"] for download in seen} == {"a/b"}
    shown = [(one["state"], one["completed"], one["total"], one["message"]) for one in seen]
    assert shown == [
        ("running", 5, 10, ""),
        ("running", 6, 100, ""),
        ("failed", 6, 100, "no room"),
        ("running", 0, 0, ""),
        ("cancelled", 0, 0, "called off"),
    ]


@pytest.mark.parametrize("shows", [True, False])
async def test_texts_are_shown_only_where_they_may_be(server: FakeServer, shows: bool) -> None:
    nodes = [
        CacheNode(1, None, 0, 0, (), (), 0, 0, 0, 0),
        CacheNode(2, 1, 0, 6, tuple(b"secret"), (0,), 1, 0, 0, 60),
    ]

    async def inspect(max_nodes: int = 0) -> SlotReport:
        report = CacheReport(nodes, 0, 1, 0, 60, 100) if max_nodes else None
        return SlotReport(1, [], 0, report)

    server.engine.inspect = inspect  # type: ignore[method-assign]
    room = Room(
        OneModel(server.context), lambda: ServerView("1", 0.0, False, shows, True, 0), period=PERIOD
    )
    with room.enter():
        _, first = await following(room.frames())
    shown = first["engines"][MODEL_NAME]
    assert [node["text"] for node in shown["prefixes"]["nodes"]] == (
        ["", "secret"] if shows else [None, None]
    )
    assert shown["memory"] == {"used": 60, "capacity": 100, "prefixes": 1, "checkpoints": 0}
    assert ("secret" in json.dumps(first)) is shows
