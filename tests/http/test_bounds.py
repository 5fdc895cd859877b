"""Every field of every body has a bound: beyond it is a 400 that names the field."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from config import ServeSettings
from config.table import between_markers
from protocol.messages import EmbeddingInfo
from server.anthropic.request import MessagesRequest, TokenCountRequest
from server.app import create_app
from server.bodies import bounds
from server.chat.request import ChatRequest
from server.embeddings.request import EmbeddingRequest
from server.embeddings.rerank import RerankRequest
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.infill import InfillRequest
from server.llama_server.slot_actions import SlotFile
from server.llama_server.tokens import DetokenizeRequest, TokenizeRequest
from server.openai.responses.request import ResponseRequest
from server.requests.field_names import known_names
from server.requests.number_bounds import number_bounds
from server.requests.sampling_fields import SamplingFields
from server.requests.text_completion import TextCompletionRequest
from tests.support.fake_server import FakeServer, make_server

pytestmark = pytest.mark.anyio

CHAT = {"messages": [{"role": "user", "content": "a"}]}
BODIES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "/completion": (CompletionRequest, {"prompt": "a"}),
    "/infill": (InfillRequest, {"input_prefix": "a", "input_suffix": "b"}),
    "/v1/responses": (ResponseRequest, {"input": "a"}),
    "/v1/messages": (MessagesRequest, {**CHAT, "model": "m", "max_tokens": 5}),
    "/v1/messages/count_tokens": (TokenCountRequest, {**CHAT, "model": "m"}),
    "/v1/messages/render": (TokenCountRequest, {**CHAT, "model": "m"}),
    "/v1/completions": (TextCompletionRequest, {"prompt": "a"}),
    "/v1/chat/completions": (ChatRequest, CHAT),
    "/v1/chat/completions/input_tokens": (ChatRequest, CHAT),
    "/apply-template": (ChatRequest, CHAT),
    "/embedding": (EmbeddingRequest, {"input": "a"}),
    "/rerank": (RerankRequest, {"query": "a", "documents": ["b"]}),
    "/tokenize": (TokenizeRequest, {"content": "a"}),
    "/detokenize": (DetokenizeRequest, {"tokens": [97]}),
    "/slots/0?action=save": (SlotFile, {"filename": "a"}),
}
EXTREMES: list[Any] = [
    -1,
    0,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**63,
    -(2**63) - 1,
    10**40,
    1e308,
    -1e308,
    5e-324,
    0.5,
    True,
    "",
    "\0",
    "a" * 20_000,
    [],
    [0] * 20_000,
    [-(2**40)],
    ["a" * 5_000] * 3,
    ["a"] * 5_000,
    [["a", 1e308]] * 5_000,
    [{}] * 5_000,
    {},
    {"a" * 5_000: "b" * 5_000},
    {str(number): number for number in range(5_000)},
    [[[[[[]]]]]],
]
ENCODED = [json.dumps(value) for value in EXTREMES]
ANSWER_BYTES = 4 << 20
MEAN: dict[str, Any] = {
    "size": 4,
    "pooling": "mean",
    "max_tokens": 127,
    "is_whole": False,
    "max_rows": 64,
}
SECONDS = 60.0
"""A limit for hangs; no extreme takes a second on a machine at rest."""


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    server = make_server(ServeSettings(slot_save_path=tmp_path, context_shift=True))
    server.engine.embedding = EmbeddingInfo(
        size=4, pooling="mean", max_tokens=127, is_whole=False, max_rows=64
    )
    return server


def fields() -> Iterator[tuple[str, str]]:
    for path, (model, _) in BODIES.items():
        # The common fields are read by the same code in all dialects.
        common = known_names(SamplingFields) if path != "/completion" else frozenset[str]()
        yield from ((path, name) for name in sorted(known_names(model) - common))


@pytest.mark.parametrize(("path", "name"), list(fields()))
async def test_extremes_of_every_field(
    client: httpx.AsyncClient, server: FakeServer, path: str, name: str
) -> None:
    if path == "/rerank":
        server.engine.embedding = EmbeddingInfo(
            size=1, pooling="rank", max_tokens=127, is_whole=False, max_rows=64
        )
    _, body = BODIES[path]
    for value in ENCODED:
        started = time.monotonic()
        sent = f'{json.dumps(body)[:-1]}, "{name}": {value}}}'  # of two equal names the last counts
        response = await client.post(path, content=sent)
        what = f"{name}: {value[:40]}"
        assert response.status_code < 500 or response.status_code == 501, what
        assert len(response.content) < ANSWER_BYTES, what
        assert time.monotonic() - started < SECONDS, what
        if response.status_code == 400:
            error = response.json()["error"]
            has_field = error.get("param") or path.startswith("/v1/messages")
            assert has_field or error["message"].endswith(" errors"), what
            assert len(error["message"]) < 2100, what


LONG = "a" * 5000
MANY = ["a"] * 5000
ENTRIES = {str(number): "" for number in range(300)}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        # numbers
        ("/completion", {"n": 33}, "n"),
        ("/v1/completions", {"n": 100}, "n"),
        ("/v1/chat/completions", {"n": 64}, "n"),
        ("/completion", {"id_slot": 4}, "id_slot"),
        ("/completion", {"id_slot": 2**40}, "id_slot"),
        ("/v1/completions", {"best_of": 2**40}, "best_of"),
        ("/v1/chat/completions", {"verbosity": 2**40}, "verbosity"),
        ("/embedding", {"dimensions": 2**40}, "dimensions"),
        # biases
        ("/completion", {"logit_bias": {"1": 1e308}}, "logit_bias"),
        ("/completion", {"logit_bias": [[1, -1e30]]}, "logit_bias"),
        ("/v1/completions", {"logit_bias": {"1": 1e10}}, "logit_bias"),
        ("/completion", {"logit_bias": {"a" * 1025: 1}}, "logit_bias"),
        ("/v1/chat/completions", {"logit_bias": [["b" * (1 << 20), 1]]}, "logit_bias"),
        ("/completion", {"logit_bias": {f"{n:0>1000}x": 1 for n in range(70)}}, "logit_bias"),
        ("/completion", {"logit_bias": [[1, 1]] * 16_000, "n": 8}, "logit_bias"),
        ("/v1/completions", {"logit_bias": [[1, 1]] * 5_000, "n": 16}, "logit_bias"),
        ("/v1/chat/completions", {"logit_bias": [[1, 1]] * 9_000, "n": 32}, "logit_bias"),
        # stop strings and breakers
        ("/completion", {"stop": MANY}, "stop"),
        ("/completion", {"stop": [LONG]}, "stop.0"),
        ("/v1/chat/completions", {"stop": ["a" * 4000] * 5}, "stop"),
        ("/v1/completions", {"stop": ["b" * 100] * 200}, "stop"),
        ("/completion", {"dry_sequence_breakers": ["a" * 65]}, "dry_sequence_breakers.0"),
        ("/completion", {"dry_sequence_breakers": ["abcdefghi"] * 30}, "dry_sequence_breakers"),
        # what is kept for an answer in one piece
        ("/completion", {"n_probs": 256, "n_predict": 2100}, "n_predict"),
        ("/v1/completions", {"logprobs": 100, "max_tokens": 200, "n": 32}, "n_predict"),
        (
            "/v1/chat/completions",
            {"logprobs": True, "top_logprobs": 20, "max_tokens": 30_000},
            "n_predict",
        ),
        # other lists and texts
        ("/completion", {"samplers": "k" * 65}, "samplers"),
        ("/completion", {"spec_type": "none," * 100}, "spec_type"),
        ("/completion", {"response_fields": MANY}, "response_fields"),
        ("/completion", {"response_fields": [LONG]}, "response_fields.0"),
        ("/completion", {"preserved_tokens": MANY}, "preserved_tokens"),
        ("/completion", {"preserved_tokens": [LONG]}, "preserved_tokens.0"),
        ("/completion", {"lora": [{"id": 2**40, "scale": 1}]}, "lora.0.id"),
        ("/completion", {"lora": [{"id": 0, "scale": 1e300}]}, "lora.0.scale"),
        ("/embedding", {"lora": [{"id": 0, "scale": 1}] * 5000}, "lora"),
        ("/v1/chat/completions", {"user": LONG}, "user"),
        ("/v1/chat/completions", {"metadata": ENTRIES}, "metadata"),
        (
            "/v1/chat/completions",
            {"chat_template_kwargs": ENTRIES},
            "chat_template_kwargs",
        ),
        (
            "/v1/chat/completions",
            {"messages": CHAT["messages"] * 20_000},
            "messages",
        ),
        ("/v1/chat/completions", {"documents": [{}] * 3000}, "documents"),
        ("/tokenize", {"content": "a" * (1 << 20) + "a"}, "content"),
        ("/tokenize", {"content": ["a" * (1 << 19)] * 3}, "content"),
        ("/tokenize", {"content": "a" * 150_000, "with_pieces": True}, "with_pieces"),
        ("/v1/completions", {"prompt": ["a"] * 3000}, "prompt"),
        ("/v1/completions", {"prompt": ["a"] * 600, "n": 2}, "n"),
    ],
)
async def test_beyond_a_bound(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    response = await client.post(path, json=BODIES[path][1] | body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert param in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"n": 32}),
        ("/completion", {"logit_bias": [[1, 1]] * 16_384}),
        ("/completion", {"logit_bias": {"hello": 1e9, "1": False}, "n": 32}),
        ("/v1/chat/completions", {"stop": ["a" * 4000] * 4}),
        ("/completion", {"n_probs": 256, "n_predict": 2000}),
        ("/completion", {"n_probs": 256, "n_predict": 2100, "stream": True}),
        ("/completion", {"dry_sequence_breakers": ["\n", ":", '"', "*"]}),
    ],
)
async def test_within_the_bounds(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    response = await client.post(path, json=BODIES[path][1] | body)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("n_probs", "n", "limit"), [(256, 16, 127), (256, 32, 63), (100, 32, 162), (1, 1, 262144)]
)
async def test_an_answer_without_a_limit_keeps_no_more_than_its_share(
    client: httpx.AsyncClient, server: FakeServer, n_probs: int, n: int, limit: int
) -> None:
    await client.post("/completion", json={"prompt": "a", "n_probs": n_probs, "n": n})
    assert {request.spec.max_tokens for request in server.generator.opened} == {limit}


@pytest.mark.parametrize(("n_max", "n", "status"), [(1, 2, 400), (40, 40, 200), (128, 128, 200)])
async def test_the_operator_sets_the_number_of_answers(n_max: int, n: int, status: int) -> None:
    server = make_server(ServeSettings(max_choices=n_max))
    transport = httpx.ASGITransport(create_app(server.context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/completion", json={"prompt": "a", "n": n})
        bounds = (await client.get("/props")).json()["request_bounds"]
    assert response.status_code == status
    assert bounds["numbers"]["n"]["maximum"] == n_max


@pytest.mark.parametrize(("count", "status"), [(1, 200), (2, 200), (3, 400)])
async def test_the_vectors_of_a_request(
    client: httpx.AsyncClient, server: FakeServer, count: int, status: int
) -> None:
    server.engine.embedding = EmbeddingInfo(
        size=bounds.NUMBERS.most // 4, pooling="none", max_tokens=127, is_whole=False, max_rows=64
    )
    response = await client.post("/embedding", json={"input": [[1, 2]] * count})
    if status == 400:
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "input"
    else:
        assert response.status_code != 400


async def test_props_tell_the_bounds(client: httpx.AsyncClient) -> None:
    told = (await client.get("/props")).json()["request_bounds"]
    assert told["sizes"] == bounds.bounds_json()
    assert told["numbers"]["n"] == {"minimum": 1, "maximum": 32}
    assert told["numbers"]["id_slot"]["maximum"] == 3
    assert told["numbers"]["temperature"] == {"minimum": 0, "maximum": 1e6}
    assert told["numbers"]["repeat_penalty"] == {"above": 0, "maximum": 100}
    assert (told["queue_seconds"], told["answer_seconds"]) == (600, 3600)


def test_every_number_has_a_least_and_a_most() -> None:
    numbers = number_bounds(SamplingFields)
    assert len(numbers) > 30
    assert all(len(found) == 2 for found in numbers.values()), numbers


def test_the_documentation_has_the_table() -> None:
    text = bounds.DOCUMENT.read_text(encoding="utf-8")
    assert between_markers(text, bounds.BEGIN, bounds.END) == "\n".join([*bounds.table(), ""])
