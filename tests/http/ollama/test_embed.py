"""`/api/embed` and `/api/embeddings`: vectors, cuts and refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import ollama
import pytest
from starlette.testclient import TestClient

from protocol.messages import EmbeddingInfo
from server.app import create_app
from tests.support.fake_server import BOS, FakeServer, make_server
from tests.support.live import serving

MEAN = EmbeddingInfo(pooling="mean", size=4, max_tokens=16, is_whole=True, max_rows=16)


@pytest.fixture
def server() -> FakeServer:
    server = make_server()
    server.engine.embedding = MEAN
    return server


@pytest.fixture
def client(server: FakeServer) -> Iterator[TestClient]:
    with TestClient(create_app(server.context), raise_server_exceptions=False) as client:
        yield client


def embed(client: TestClient, **fields: Any) -> Any:
    answer = client.post("/api/embed", json={"model": "mario", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: TestClient, path: str = "/api/embed", status: int = 400, **fields: Any) -> str:
    answer = client.post(path, json={"model": "m", "input": "Hi", "prompt": "Hi", **fields})
    assert answer.status_code == status, answer.text
    return str(answer.json()["error"])


@pytest.mark.parametrize("texts", ["Hi", ["Hi"], ["Hi", "there", "Hi"]])
def test_vectors_have_length_1(client: TestClient, texts: Any) -> None:
    found = embed(client, input=texts)
    count = 1 if isinstance(texts, str) else len(texts)
    assert [len(vector) for vector in found["embeddings"]] == [4] * count
    assert all(math.isclose(math.hypot(*v), 1, rel_tol=1e-5) for v in found["embeddings"])
    joined = texts if isinstance(texts, str) else "".join(texts)
    assert found["prompt_eval_count"] == len(joined) + count
    assert (found["model"], found["total_duration"] > 0) == ("mario", True)


@pytest.mark.parametrize("fields", [{"input": []}, {"input": ""}, {}])
def test_nothing_loads_the_model(client: TestClient, fields: Any) -> None:
    assert embed(client, **fields)["embeddings"] == []


def test_dimensions_are_cut_and_scaled(client: TestClient) -> None:
    whole = embed(client, input="Hi")["embeddings"][0]
    [cut] = embed(client, input="Hi", dimensions=2)["embeddings"]
    length = math.hypot(*whole[:2])
    assert cut == pytest.approx([value / length for value in whole[:2]], rel=1e-5)
    assert "at most 4" in refusal(client, dimensions=5)


@pytest.mark.parametrize("length", [16, 17, 100, 5000])
@pytest.mark.parametrize("options", [{}, {"num_ctx": 9}])
def test_long_texts_are_cut(
    client: TestClient, server: FakeServer, length: int, options: Any
) -> None:
    embed(client, input="x" * length, options=options)
    most = options.get("num_ctx", 16)
    assert server.generator.opened[-1].spec.prompt == (BOS, *b"x" * (most - 1))
    assert "tokens" in refusal(client, input="x" * length, options=options, truncate=False)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"input": [1, 2]}, "'input' must be a text or a list of texts"),
        ({"input": {"a": 1}}, "'input' must be a text or a list of texts"),
        ({"dimensions": -1}, "'dimensions'"),
        ({"options": {"num_gpu": 3}}, "'options.num_gpu'"),
        ({"model": None}, "'model' is required"),
    ],
)
def test_refusals(client: TestClient, fields: Any, text: str) -> None:
    assert text in refusal(client, **fields)


@pytest.mark.parametrize("pooling", ["none", "rank"])
@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_without_one_vector_for_a_text(
    client: TestClient, server: FakeServer, pooling: str, path: str
) -> None:
    server.engine.embedding = msgspec.structs.replace(MEAN, pooling=pooling)
    assert "--pooling" in refusal(client, path)


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
def test_a_server_that_does_not_embed(client: TestClient, server: FakeServer, path: str) -> None:
    server.engine.embedding = None
    assert "--embeddings" in refusal(client, path, 501)


def test_the_older_route(client: TestClient) -> None:
    answer = client.post("/api/embeddings", json={"model": "m", "prompt": "Hi"}).json()
    assert list(answer) == ["embedding"]
    assert answer["embedding"] == pytest.approx(embed(client, input="Hi")["embeddings"][0])
    assert client.post("/api/embeddings", json={"model": "m"}).json() == {"embedding": []}


def test_the_official_client(server: FakeServer) -> None:
    with serving(create_app(server.context)) as url, ollama.Client(host=url) as client:
        found = client.embed("mario", ["Hi", "there"], dimensions=3, truncate=True)
        assert [len(vector) for vector in found.embeddings] == [3, 3]
        assert found.prompt_eval_count == 9
        assert len(client.embeddings("mario", "Hi").embedding) == 4
