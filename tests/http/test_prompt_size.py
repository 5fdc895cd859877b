"""Prompts that can't fit are refused by their length, before any slow work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.fake_server import N_CTX_SLOT, ByteTokenizer

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were tokenized."""
    texts: list[str] = []
    tokenize = ByteTokenizer.tokenize

    def record(self: ByteTokenizer, text: str, **options: Any) -> list[int]:
        texts.append(text)
        return tokenize(self, text, **options)

    monkeypatch.setattr(ByteTokenizer, "tokenize", record)
    return texts


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
async def test_prompts_that_cannot_fit_are_not_tokenized(
    client: httpx.AsyncClient, tokenized: list[str], path: str, body: Any
) -> None:
    response = await client.post(path, json=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] >= error["n_ctx"] == N_CTX_SLOT
    assert "at least" in error["message"]
    assert tokenized == []


async def test_a_prompt_that_might_fit_is_tokenized(
    client: httpx.AsyncClient, tokenized: list[str]
) -> None:
    text = "x" * (N_CTX_SLOT * ByteTokenizer.longest_piece - 1)
    response = await client.post("/completion", json={"prompt": text})
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["n_prompt_tokens"] == len(text) + 1  # each byte, and BOS
    assert tokenized == [text]


TURNS = [{"role": "user", "content": "x" * N_CTX_SLOT}]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/completion", {"prompt": "x" * N_CTX_SLOT}, "prompt"),
        ("/v1/completions", {"prompt": LONG}, "prompt"),
        ("/v1/chat/completions", {"messages": TURNS}, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}]}, "messages"),
        ("/v1/chat/completions", {"messages": [TURNS[0]] * N_CTX_SLOT}, "messages"),
        ("/v1/responses", {"input": "x" * N_CTX_SLOT}, "input"),
        ("/v1/responses", {"input": LONG, "truncation": "auto"}, "input"),
    ],
)
async def test_the_error_names_the_field_that_is_too_long(
    client: httpx.AsyncClient, path: str, body: Any, field: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field
