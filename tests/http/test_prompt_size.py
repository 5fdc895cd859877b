"""Prompts that can't fit are refused by their length, before any slow work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.fake_server import N_CTX_SLOT, ByteTokenizer, FakeServer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_tokenizing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> list[int]:
        raise AssertionError("a prompt that can't fit was tokenized")

    monkeypatch.setattr(ByteTokenizer, "tokenize", refuse)


LONG = "x" * (N_CTX_SLOT * 10)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": LONG}),
        ("/completion", {"prompt": ["ab", *[7] * N_CTX_SLOT * 2]}),
        ("/completion", {"prompt": [1, LONG]}),
        ("/v1/completions", {"prompt": LONG}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": ""}] * N_CTX_SLOT}),
    ],
)
async def test_what_cannot_fit(client: httpx.AsyncClient, path: str, body: Any) -> None:
    response = await client.post(path, json=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] >= error["n_ctx"] == N_CTX_SLOT
    assert "at least" in error["message"]


async def test_what_might_fit_is_tokenized(client: httpx.AsyncClient, server: FakeServer) -> None:
    text = "x" * (N_CTX_SLOT * ByteTokenizer.longest_piece - 1)
    response = await client.post("/completion", json={"prompt": text})
    assert response.status_code == 500  # the fixture above raises
