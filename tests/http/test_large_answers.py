"""Large answers in one piece are written while the server goes on with other requests."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.http import json_response
from tests.support.fake_server import MODEL_NAME, ScriptedGenerator, make_server
from tests.support.live import DEADLINE

pytestmark = pytest.mark.anyio

NUM_TOKENS = 40
NUM_TOP = 150
LARGE = 20_000
"""Bytes of JSON. Only the answers with alternatives have so many."""

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
OLLAMA = {"model": MODEL_NAME, "stream": False}

Case = tuple[str, dict[str, Any], dict[str, Any]]
"""The path, the body, and the fields that ask for alternatives."""

CASES: list[Case] = [
    ("/completion", {"prompt": "Hi"}, {"n_probs": NUM_TOP}),
    ("/v1/completions", {"prompt": "Hi", "n": 2}, {"logprobs": NUM_TOP}),
    ("/v1/chat/completions", CHAT, {"logprobs": True, "top_logprobs": NUM_TOP}),
    ("/v1/responses", {"input": "Hi"}, {"top_logprobs": NUM_TOP}),
    ("/api/chat", {**OLLAMA, **CHAT}, {"logprobs": True, "top_logprobs": NUM_TOP}),
    ("/api/generate", {**OLLAMA, "prompt": "Hi"}, {"logprobs": True, "top_logprobs": NUM_TOP}),
]


@dataclass
class SlowEncoder:
    """Encodes a large answer once the test says so."""

    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    was_in_time: bool = True

    def render(self, response: object, content: Any) -> bytes:
        data = json_response.encode_json(content)
        if len(data) > LARGE:
            self.begun.set()
            self.was_in_time = self.may_end.wait(DEADLINE)
        return data


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> SlowEncoder:
    encoder = SlowEncoder()
    monkeypatch.setattr(json_response.JsonResponse, "render", lambda *parts: encoder.render(*parts))
    return encoder


def client_of(num_tokens: int) -> httpx.AsyncClient:
    server = make_server(generator=ScriptedGenerator(["ab"] * num_tokens))
    transport = httpx.ASGITransport(app=create_app(server.context))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_others_are_answered_meanwhile(case: Case, encoder: SlowEncoder) -> None:
    path, body, more = case
    async with client_of(NUM_TOKENS) as client:
        asking = asyncio.create_task(client.post(path, json={**body, **more}))
        assert await asyncio.to_thread(encoder.begun.wait, DEADLINE)
        assert (await client.get("/health")).status_code == 200
        small = await client.post(path, json=body)
        encoder.may_end.set()
        large = await asking
    assert encoder.was_in_time
    assert (small.status_code, large.status_code) == (200, 200)
    assert len(small.content) < LARGE < len(large.content)
    found = [len(one) for one in tops(large.json())]
    assert len(found) == NUM_TOKENS * body.get("n", 1)
    # A text completion has alternatives by text: those that are no text alone are one.
    assert set(found) == ({32} if path == "/v1/completions" else {NUM_TOP})


def tops(value: Any) -> list[Any]:
    """The alternatives to each token, wherever a dialect has them."""
    if isinstance(value, list):
        return [top for one in value for top in tops(one)]
    if not isinstance(value, dict):
        return []
    found: list[Any] = []
    for name, one in value.items():
        if name == "top_logprobs" and isinstance(one, list):
            is_of_one_token = bool(one) and "token" in one[0]
            found += [one] if is_of_one_token else one  # text completions: of all tokens
        else:
            found += tops(one)
    return found
