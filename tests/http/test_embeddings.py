"""Embeddings over HTTP, in OpenAI's form (with its own client) and in llama-server's."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import msgspec
import numpy as np
import openai
import pytest

from config import ServeSettings
from protocol.messages import EmbeddingInfo
from server.app import create_app
from server.errors import Overloaded
from tests.support.fake_server import BOS, FakeServer, make_server
from tests.support.live import serving

pytestmark = pytest.mark.anyio

MEAN = EmbeddingInfo(pooling="mean", size=4, max_tokens=20, is_whole=True, max_rows=64)
NONE = msgspec.structs.replace(MEAN, pooling="none")


@pytest.fixture
def server() -> FakeServer:
    server = make_server()
    server.engine.embedding = MEAN
    return server


def unit(*values: float) -> Any:
    vector = np.array(values)
    return pytest.approx(list(vector / np.linalg.norm(vector)), rel=1e-6)


@pytest.mark.parametrize("encoding", ["float", "base64", openai.omit])
def test_the_official_client_gets_what_it_asks_for(server: FakeServer, encoding: Any) -> None:
    with (
        serving(create_app(server.context)) as url,
        openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="none",
            # Loading certificates takes longer than most tests.
            http_client=openai.DefaultHttpxClient(verify=False),
        ) as client,
    ):
        answer = client.embeddings.create(
            model="fake-model", input=["ab", "c"], encoding_format=encoding
        )
    vectors = [entry.embedding for entry in answer.data]
    if encoding == "base64":
        data = [base64.b64decode(str(vector)) for vector in vectors]
        vectors = [np.frombuffer(item, "<f4").tolist() for item in data]
    assert vectors[0] == unit(BOS + 97 + 98, 3, 0, -3)
    assert vectors[1] == unit(BOS + 99, 2, 0, -2)
    assert [entry.index for entry in answer.data] == [0, 1]
    assert answer.object == "list"
    assert answer.usage.model_dump() == {"prompt_tokens": 5, "total_tokens": 5}


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("ab", [(BOS, 97, 98)]),
        ([5, 6], [(5, 6)]),
        (["a", [7], "b"], [(BOS, 97), (7,), (BOS, 98)]),
        ([[5, 6], [7]], [(5, 6), (7,)]),
        ({"content": [{"type": "text", "text": "a"}]}, [(BOS, 97)]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding", "/embeddings"])
async def test_inputs_come_in_many_shapes(
    client: httpx.AsyncClient,
    server: FakeServer,
    path: str,
    given: Any,
    prompts: list[tuple[int, ...]],
) -> None:
    answer = await client.post(path, json={"input": given})
    assert answer.status_code == 200
    assert [request.spec.prompt for request in server.generator.opened] == prompts
    assert all(request.spec.embedding for request in server.generator.opened)


async def test_the_native_shape_is_an_array_of_arrays(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/embedding", json={"content": ["a", "b"]})).json()
    assert [entry["index"] for entry in answer] == [0, 1]
    assert answer[1]["embedding"] == [unit(BOS + 98, 2, 0, -2)]


async def test_without_pooling_each_token_has_a_vector(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.engine.embedding = NONE
    answer = (await client.post("/embeddings", json={"content": [5, 6]})).json()
    assert answer == [{"index": 0, "embedding": [[5, 1, 0, -1], [6, 1, 0, -1]]}]
    refused = await client.post("/v1/embeddings", json={"input": "a"})
    assert refused.status_code == 400
    assert "--pooling" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (-1, [3, 1, 0, -1]),
        (0, [32760, 10920, 0, -10920]),
        (1, [0.6, 0.2, 0, -0.2]),
        (2, list(np.array([3, 1, 0, -1]) / 11**0.5)),
        (3, list(np.array([3, 1, 0, -1]) / 29 ** (1 / 3))),
    ],
)
async def test_vectors_are_scaled_as_asked(
    client: httpx.AsyncClient, norm: int, expected: list[float]
) -> None:
    answer = await client.post("/embedding", json={"content": [3], "embd_normalize": norm})
    assert answer.json()[0]["embedding"][0] == pytest.approx(expected, rel=1e-5)


async def test_the_server_s_own_number_may_be_asked_for(client: httpx.AsyncClient) -> None:
    for dimensions, status in ((4, 200), (3, 400), (5, 400), (0, 400)):
        body = {"input": "a", "dimensions": dimensions}
        answer = await client.post("/v1/embeddings", json=body)
        assert answer.status_code == status
        if status == 400:
            assert answer.json()["error"]["param"] == "dimensions"


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "is required"),
        ({"input": []}, "input", "must not be empty"),
        ({"input": [[]]}, "input", "must not be empty"),
        ({"input": 5}, "input", "must be a text"),
        ({"input": [9999]}, "input", "the token 9999"),
        ({"input": ["a", [9999]]}, "input.1", "the token 9999"),
        ({"input": "a" * 20}, "input", "21 tokens, more than the 20"),
        ({"input": ["a", "a" * 50]}, "input.1", "51 tokens, more than the 20"),
        ({"input": "a" * 50_000}, "input", "has at least 10000 tokens, more than the 20"),
        ({"input": ["a"] * 3000}, "input", "at most 2048"),
        ({"input": {"content": [{"type": "image_url"}]}}, "input", "text only"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "must be 'float' or"),
        ({"input": "a", "embd_normalize": -2}, "embd_normalize", "must be at least -1"),
        ({"input": "a", "lora": [{"id": 0, "scale": 1}]}, "lora.0.id", "there is no adapter 0"),
    ],
)
async def test_a_wrong_body_names_its_field(
    client: httpx.AsyncClient, server: FakeServer, body: dict[str, Any], param: str, words: str
) -> None:
    answer = await client.post("/v1/embeddings", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]
    assert not server.generator.opened


@pytest.mark.parametrize("name", ["other", "text-embedding-3-small", "bge.gguf"])
async def test_any_model_name_means_the_served_model(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/v1/embeddings", json={"input": "a", "model": name})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding"])
async def test_a_server_without_embeddings_says_so(path: str) -> None:
    transport = httpx.ASGITransport(create_app(make_server().context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post(path, json={"input": "a"})
    assert answer.status_code == 501
    assert "--embeddings" in answer.json()["error"]["message"]


async def test_a_large_request_leaves_room_in_the_queue(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.generator.queued = 0.001
    inputs = [[number % 250] for number in range(300)]
    body = {"input": inputs, "embd_normalize": -1}
    data = (await client.post("/v1/embeddings", json=body)).json()["data"]
    assert [entry["embedding"][0] for entry in data] == [number for (number,) in inputs]
    assert server.generator.most_running == 8  # of four slots


async def test_one_failure_ends_all(client: httpx.AsyncClient, server: FakeServer) -> None:
    server.generator.fail_after = (0, Overloaded("full", retry_after=3))
    answer = await client.post("/v1/embeddings", json={"input": ["a"] * 50})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    assert server.generator.running == 0


async def test_embeddings_are_counted_like_everything_else() -> None:
    server = make_server(ServeSettings(metrics=True))
    server.engine.embedding = MEAN
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/v1/embeddings", json={"input": ["a", "bc"]})
        metrics = (await client.get("/metrics")).text
    success = 'vllm:request_success_total{finished_reason="stop",model="fake-model"'
    assert any(line.startswith(success) and line.endswith(" 2.0") for line in metrics.splitlines())
