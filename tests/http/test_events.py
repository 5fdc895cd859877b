"""`GET /v1/events`: who may read, and what a reader sees of the real engine loop at work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.access.key import ApiKey, digest_of
from server.app_state import state_of
from tests.support.live import DEADLINE, wait_for
from tests.support.live_engine import Live, letter_backend, live_server

MODEL = "fake"
KEYS = [
    ApiKey(name=name, digest=digest_of(name.encode()), is_admin=name == "ops")
    for name in ("alice", "ops")
]


class Watched:
    """A running server on the fake backend."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.pair = live.pair
        self.app = live.app
        self.url = str(live.client.base_url).rstrip("/")

    def complete(self, prompt: str, key: str = "", **fields: object) -> dict[str, Any]:
        body = {"prompt": prompt, "n_predict": 5, "temperature": 0, **fields}
        response = httpx.post(
            f"{self.url}/completion", json=body, headers=headers_of(key), timeout=DEADLINE
        )
        shown: dict[str, Any] = response.raise_for_status().json()
        return shown

    @contextmanager
    def events(self, key: str = "") -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        with (
            httpx.Client(timeout=DEADLINE) as client,
            client.stream("GET", f"{self.url}/v1/events", headers=headers_of(key)) as response,
        ):
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield parsed(response.iter_lines())

    def get(self, key: str) -> httpx.Response:
        return httpx.get(f"{self.url}/v1/events", headers=headers_of(key), timeout=DEADLINE)


def headers_of(key: str) -> dict[str, str]:
    return {"X-Api-Key": key} if key else {}


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@contextmanager
def running(
    *, keys: bool = False, is_local: bool = True, settings: ServeSettings | None = None
) -> Iterator[Watched]:
    with live_server(
        letter_backend,
        settings or ServeSettings(ui=False),
        keys=KEYS if keys else (),
        is_local=is_local,
        cache_bytes=1 << 20,
    ) as live:
        yield Watched(live)


def merged(state: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A state after an update, as docs/events.md says that a reader does it."""
    state = state | {key: value for key, value in change.items() if key != "engines"}
    engines = dict(state["engines"])
    for name, news in change.get("engines", {}).items():
        if news is None:
            del engines[name]
            continue
        engine = dict(engines.get(name, {}))
        for field, value in news.items():
            if field in ("slots", "requests"):
                known = {item["id"]: item for item in engine.get(field, [])}
                changed = {item["id"]: known.get(item["id"], {}) | item for item in value}
                engine[field] = list((known | changed).values())
            else:
                engine[field] = value
        engines[name] = engine
    return state | {"engines": engines}


def test_what_a_reader_sees_of_requests_slots_and_the_cache() -> None:
    beginning = "the same long beginning of every question that anybody may ask: "
    with running() as server:
        server.complete(beginning + "one")
        with server.events() as events:
            kind, state = next(events)
            assert kind == "snapshot"
            (first,) = state["engines"][MODEL]["requests"]
            assert (first["state"], first["cache"]["result"]) == ("max_tokens", "new")
            thread = threading.Thread(target=server.complete, args=(beginning + "two",))
            thread.start()
            while len(state["engines"][MODEL]["requests"]) < 2 or (
                state["engines"][MODEL]["requests"][1]["ended"] is None
            ):
                kind, change = next(events)
                assert kind == "update"
                state = merged(state, change)
            thread.join()
            while not any(
                "the same" in node["text"] and len(node["slots"]) + node["saved"] >= 1
                for node in state["engines"][MODEL]["prefixes"]["nodes"]
            ):
                state = merged(state, next(events)[1])
    second = state["engines"][MODEL]["requests"][1]
    assert second["cache"]["reused"] >= len(beginning)
    assert second["cache"]["result"] == "parted"
    assert second["cache"]["source"] in ("slot", "copy")
    assert second["queued"] <= second["started"] <= second["first_token"] <= second["ended"]
    assert second["answer_tokens"] == 5
    steps = state["engines"][MODEL]["steps"]
    assert steps["steps"] > 0
    assert set(steps["seconds"]) == {"schedule", "draft", "decode", "sample", "update", "send"}
    assert state["engines"][MODEL]["keys"][0]["answer_tokens"] == 10


def test_a_running_request_is_seen_in_its_slot() -> None:
    with running(keys=True) as server:
        server.pair.gate.allow(3)
        thread = threading.Thread(
            target=server.complete, args=("hello there", "alice"), kwargs={"n_predict": 50}
        )
        thread.start()
        with server.events("ops") as events:
            _, state = next(events)
            while not any(slot["request"] for slot in state["engines"][MODEL]["slots"]):
                if server.pair.client.streams:
                    server.pair.gate.allow(1)
                state = merged(state, next(events)[1])
            (busy,) = [slot for slot in state["engines"][MODEL]["slots"] if slot["request"]]
            assert busy["key"] == "alice"
            assert busy["prompt_tokens"] == 1 + len("hello there")
            server.pair.gate.allow(None)
            thread.join()


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("", 401, "an API key is needed"),
        ("wrong", 401, "Invalid API Key"),
        ("alice", 403, "an admin's key may"),
    ],
)
def test_who_may_not_read(key: str, status: int, words: str) -> None:
    with running(keys=True) as server:
        response = server.get(key)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]


def test_an_admin_reads_and_sees_texts() -> None:
    with running(keys=True, is_local=False) as server:
        server.complete("a text of alice and of nobody else", "alice")
        with server.events("ops") as events:
            _, state = next(events)
    assert state["server"] == state["server"] | {"has_keys": True, "shows_texts": True}
    nodes = state["engines"][MODEL]["prefixes"]["nodes"]
    assert any("a text of" in node["text"] for node in nodes)
    assert [node["owner"] for node in nodes if node["parent"] is None] == ["alice"]


def test_others_on_the_network_see_no_texts_of_an_open_server() -> None:
    with running(is_local=False) as server:
        server.complete("a text of somebody else")
        with server.events() as events:
            _, state = next(events)
    nodes = state["engines"][MODEL]["prefixes"]["nodes"]
    assert nodes
    assert all(node["text"] is None for node in nodes)
    assert "a text" not in json.dumps(state)


def test_a_server_without_slots_shows_nothing() -> None:
    with running(settings=ServeSettings(ui=False, slots=False)) as server:
        response = server.get("")
    assert response.status_code == 501
    assert "--no-slots" in response.json()["error"]["message"]


def test_a_reader_that_leaves_is_forgotten() -> None:
    with running() as server:
        room = state_of(server.app).room
        with server.events() as events:
            next(events)
            assert room.num_readers == 1
        assert wait_for(lambda: room.num_readers == 0)


def test_an_engine_that_dies_is_seen() -> None:
    with running() as server, server.events() as events:
        _, state = next(events)
        assert state["engines"][MODEL]["facts"]["state"] == "ready"
        server.live.call(server.pair.kill_engine())
        while state["engines"][MODEL]["facts"]["state"] == "ready":
            state = merged(state, next(events)[1])
        assert state["engines"][MODEL]["facts"]["state"] == "restarting"
        assert state["engines"][MODEL]["facts"]["deaths"] == 1
