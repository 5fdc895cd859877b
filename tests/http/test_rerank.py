"""Reranking over HTTP, in Jina's and in TEI's shape."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from protocol.messages import EmbeddingInfo
from tests.support.fake_server import BOS, EOS, FakeServer, make_server

pytestmark = pytest.mark.anyio

RANK = EmbeddingInfo(pooling="rank", size=4, max_tokens=20, is_whole=True, max_rows=64)
BODY: dict[str, Any] = {"query": "q", "documents": ["b", "z", "aa", "z"]}


@pytest.fixture
def server() -> FakeServer:
    server = make_server()
    server.engine.embedding = RANK
    return server


def score(document: str) -> float:
    """The fake's score of a pair: the sum of its tokens."""
    return BOS + ord("q") + 2 * EOS + sum(document.encode())


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
async def test_documents_come_back_by_their_score(
    client: httpx.AsyncClient, server: FakeServer, path: str
) -> None:
    answer = (await client.post(path, json=BODY)).json()
    assert server.generator.opened[0].spec.prompt == (BOS, ord("q"), EOS, ord("b"), EOS)
    assert answer == {
        "object": "list",
        "model": "fake-model",
        "usage": {"prompt_tokens": 21, "total_tokens": 21},
        "results": [
            {"index": index, "relevance_score": score(document)}
            for index, document in ((2, "aa"), (1, "z"), (3, "z"), (0, "b"))
        ],
    }


async def test_the_best_few_with_their_texts(client: httpx.AsyncClient) -> None:
    body = {"query": "q", "documents": ["b", {"text": "z"}], "top_n": 1, "return_documents": True}
    answer = (await client.post("/v1/rerank", json=body)).json()
    assert answer["results"] == [
        {"index": 1, "relevance_score": score("z"), "document": {"text": "z"}}
    ]


async def test_texts_ask_for_the_other_shape(client: httpx.AsyncClient) -> None:
    body = {"query": "q", "texts": ["b", "z"]}
    answer = (await client.post("/rerank", json=body)).json()
    assert answer == [{"index": 1, "score": score("z")}, {"index": 0, "score": score("b")}]
    answer = (await client.post("/rerank", json={**body, "return_text": True})).json()
    assert [entry["text"] for entry in answer] == ["z", "b"]


async def test_a_model_s_own_template_joins_query_and_document(
    client: httpx.AsyncClient, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metadata(key: str) -> str | None:
        return "Q:{query} D:{document}." if key == "tokenizer.chat_template.rerank" else None

    monkeypatch.setattr(server.context.tokenizer, "metadata", metadata)
    body = {"query": "{document}", "documents": ["b"]}
    assert (await client.post("/rerank", json=body)).status_code == 200
    assert bytes(server.generator.opened[0].spec.prompt) == b"Q:{document} D:b."


@pytest.mark.parametrize("template", ["{query}" + "{document}" * 99_999, "x" * (33 << 20)])
async def test_a_hostile_template_makes_no_endless_input(
    client: httpx.AsyncClient,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
) -> None:
    def metadata(key: str) -> str | None:
        return template if key == "tokenizer.chat_template.rerank" else None

    monkeypatch.setattr(server.context.tokenizer, "metadata", metadata)
    body = {"query": "q", "documents": ["b" * 10_000]}
    answer = await client.post("/rerank", json=body)
    assert answer.status_code == 400
    assert "rerank template" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"documents": ["a"]}, "query", "is required"),
        ({"query": "q"}, "documents", "is required"),
        ({"query": "q", "documents": ["a"], "texts": ["a"]}, "documents", "'texts'"),
        ({"query": "q", "documents": []}, "documents", "1 or more"),
        ({"query": "q", "documents": "a"}, "documents", "must be a list of texts"),
        ({"query": "q", "documents": [1]}, "documents", "must be a list of texts"),
        ({"query": "q", "texts": ["a", "a" * 50]}, "texts.1", "54 tokens, more than the 20"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n", "must be at least 1"),
        ({"query": 1, "documents": ["a"]}, "query", "must be a string"),
    ],
)
async def test_a_wrong_body_names_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, words: str
) -> None:
    answer = await client.post("/rerank", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]


async def test_another_pooling_is_no_ranking(client: httpx.AsyncClient, server: FakeServer) -> None:
    server.engine.embedding = None
    answer = await client.post("/rerank", json=BODY)
    assert answer.status_code == 501
    assert "--reranking" in answer.json()["error"]["message"]
