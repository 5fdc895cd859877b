"""A text that can't be split into tokens is a 400 that names its field; sizes have bounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import httpx
import pytest

from protocol.messages import EmbeddingInfo
from server.bodies.bounds import Bound
from server.llama_server import tokens
from server.model.guarded_tokenizer import UnsplittableText
from tests.support.fake_server import ByteTokenizer, FakeServer

pytestmark = pytest.mark.anyio

BAD = "a text that can't be split"


@pytest.fixture(autouse=True)
def _refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenize = ByteTokenizer.tokenize

    def refuse(self: ByteTokenizer, text: str, **options: Any) -> list[int]:
        if BAD in text:
            raise UnsplittableText("splitting a text takes too long")
        return tokenize(self, text, **options)

    monkeypatch.setattr(ByteTokenizer, "tokenize", refuse)


CHAT = {"messages": [{"role": "user", "content": BAD}]}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/completion", {"prompt": BAD}, "prompt"),
        ("/completion", {"prompt": ["a", [1, BAD]]}, "prompt"),
        ("/completion", {"prompt": "a", "logit_bias": [[BAD, 1]]}, "logit_bias"),
        ("/v1/completions", {"prompt": BAD}, "prompt"),
        ("/v1/chat/completions", CHAT, "messages"),
        ("/v1/chat/completions", {**CHAT, "stream": True}, "messages"),
        ("/v1/chat/completions/input_tokens", CHAT, "messages"),
        ("/tokenize", {"content": BAD}, "content"),
        ("/tokenize", {"content": [1, "a", BAD]}, "content"),
    ],
)
async def test_the_field_is_named(
    client: httpx.AsyncClient, path: str, body: Any, param: str
) -> None:
    response = await client.post(path, json=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert "splitting" in error["message"]


@pytest.mark.parametrize(
    ("pooling", "path", "body", "param"),
    [
        ("mean", "/v1/embeddings", {"input": BAD}, "input"),
        ("mean", "/v1/embeddings", {"input": ["a", BAD]}, "input.1"),
        ("rank", "/rerank", {"query": "q", "documents": ["a", BAD]}, "documents.1"),
    ],
)
async def test_fields_of_embeddings(
    server: FakeServer, client: httpx.AsyncClient, pooling: str, path: str, body: Any, param: str
) -> None:
    server.engine.embedding = EmbeddingInfo(
        pooling=pooling, size=4, max_tokens=20, is_whole=True, max_rows=64
    )
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("limit", "path", "body", "param"),
    [
        ("TOKENIZED_CHARS", "/tokenize", {"content": "x" * 9}, "content"),
        ("TOKENIZED_CHARS", "/tokenize", {"content": ["xxxx", 1, "xxxx"]}, "content"),
        ("PIECES", "/tokenize", {"content": "x" * 9, "with_pieces": True}, "with_pieces"),
        ("JOINED_BYTES", "/detokenize", {"tokens": [120] * 9}, "tokens"),
    ],
)
async def test_sizes_have_bounds(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    path: str,
    body: dict[str, Any],
    param: str,
) -> None:
    bound: Bound = getattr(tokens, limit)
    monkeypatch.setattr(tokens, limit, dataclasses.replace(bound, most=9))
    assert (await client.post(path, json=body)).status_code == 200
    monkeypatch.setattr(tokens, limit, dataclasses.replace(bound, most=8))
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
