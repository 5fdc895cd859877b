"""What a key sees of other keys' requests: that they run, and nothing of what they say."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from config import ServeSettings
from protocol.commands import SequenceSpec
from protocol.sampling import SamplingParams
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from tests.support.fake_server import FakeServer, make_server

pytestmark = pytest.mark.anyio

SECRET = SamplingParams(
    seed=7391,
    logit_bias=((42, -7.0),),
    dry_sequence_breakers=("my secret",),
    temperature=0.4321,
)
PLAIN_KEYS = ("id", "n_ctx", "speculative", "is_processing", "n_prompt_tokens", "id_task")


def busy_server() -> FakeServer:
    server = make_server(ServeSettings(metrics=True))
    server.engine.busy = 2
    for number, tenant in enumerate(("alice", "bob")):
        spec = SequenceSpec(prompt=(1,), sampling=SECRET, max_tokens=5, tenant=tenant)
        server.engine.known_specs[100 + number] = spec
    return server


async def get(server: FakeServer, path: str, key: str | None) -> httpx.Response:
    names = ("alice", "bob", "ops")
    keys = [ApiKey(name=n, digest=digest_of(n.encode()), is_admin=n == "ops") for n in names]
    app = create_app(server.context, keys=KeyRing(keys if key else []))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers={"X-Api-Key": key} if key else {})


@pytest.mark.parametrize(
    ("key", "whole"),
    [("alice", [True, False]), ("bob", [False, True]), ("ops", [True, True]), (None, [True, True])],
)
async def test_the_slots_of_others(key: str | None, whole: list[bool]) -> None:
    slots: list[dict[str, Any]] = (await get(busy_server(), "/slots", key)).json()
    for slot, is_whole in zip(slots[:2], whole, strict=True):
        assert ("params" in slot) is is_whole
        if is_whole:
            assert slot["params"]["seed"] == 7391
            assert slot["next_token"][0]["n_remain"] == 3
        else:
            assert set(slot) == {*PLAIN_KEYS, "next_token"}
            assert slot["next_token"] == [{"n_decoded": 2}]
    assert not slots[2]["is_processing"]


@pytest.mark.parametrize("secret", ["7391", "my secret", "0.4321", "-7.0", "42"])
async def test_nothing_of_anothers_sampling_is_shown(secret: str) -> None:
    server = busy_server()
    del server.engine.known_specs[100]  # alice's own
    assert secret not in (await get(server, "/slots", "alice")).text


async def test_a_sequence_that_is_over_is_nobodys() -> None:
    server = busy_server()
    server.engine.known_specs.clear()
    slots = (await get(server, "/slots", "alice")).json()
    assert all("params" not in slot for slot in slots)


@pytest.mark.parametrize(
    ("key", "seen"),
    [("alice", {"alice"}), ("bob", {"bob"}), ("ops", {"alice", "bob"}), (None, {"alice", "bob"})],
)
async def test_the_counts_of_other_keys(key: str | None, seen: set[str]) -> None:
    server = busy_server()
    for name in ("alice", "bob"):
        server.context.metrics.use(name).requests += 1
    text = (await get(server, "/metrics", key)).text
    assert {name for name in ("alice", "bob") if f'key="{name}"' in text} == seen


async def test_the_log_has_no_text_of_requests(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    schema = {"type": "object", "properties": {"hush": {"not": {}, "type": "string"}}}
    tool = {"type": "function", "function": {"name": "hushed", "parameters": schema}}
    bodies = [
        {"messages": [{"role": "user", "content": "hush"}], "tools": [tool], "user": "hush"},
        {"messages": [{"role": "hush"}], "stop": "hush"},
        {"messages": [{"role": "user", "content": "a"}], "hush": 1, "metadata": {"hush": "hush"}},
    ]
    for body in bodies:
        await client.post("/v1/chat/completions", json=body)
    assert "hush" not in caplog.text
