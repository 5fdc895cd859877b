"""Endpoints about the server: health, properties, slots, models, metrics, tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import ServeSettings
from protocol.commands import SequenceSpec
from protocol.messages import StepStats
from protocol.sampling import SamplingParams
from server.app import create_app
from server.bodies.bounds import TOKENIZED_CHARS
from server.templates.chat_template import ChatTemplate
from tests.support.fake_server import BOS, EOS, MODEL_NAME, FakeServer, make_server

pytestmark = pytest.mark.anyio


def client_of(server: FakeServer) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(server.context), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/livez", "/readyz"])
async def test_all_is_well(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/health", 503), ("/v1/health", 503), ("/readyz", 503), ("/livez", 200)],
)
async def test_while_the_model_loads(
    client: httpx.AsyncClient, server: FakeServer, path: str, status: int
) -> None:
    server.engine.loaded = server.engine.is_ready = False
    server.engine.heartbeat_age = None
    response = await client.get(path)
    assert response.status_code == status
    if status == 503:
        error = response.json()["error"]
        assert error["code"] == 503
        assert error["message"] == "Loading model"
        assert error["type"] == "unavailable_error"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/completion", {"prompt": "a"}),
        ("GET", "/props", None),
        ("GET", "/slots", None),
        ("GET", "/v1/models", None),
    ],
)
async def test_work_is_refused_while_the_model_loads(
    client: httpx.AsyncClient, server: FakeServer, method: str, path: str, body: Any
) -> None:
    server.engine.loaded = False
    response = await client.request(method, path, json=body)
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "Loading model"


async def test_draining_is_healthy_but_not_ready(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.engine.is_ready = False
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503


@pytest.mark.parametrize(("hang_timeout", "limit"), [(10, 25), (0, 120)])
async def test_an_engine_that_the_watchdog_did_not_replace_is_not_alive(
    hang_timeout: int, limit: int
) -> None:
    server = make_server(ServeSettings(hang_timeout=hang_timeout))
    async with client_of(server) as client:
        server.engine.heartbeat_age = limit - 1
        assert (await client.get("/livez")).status_code == 200
        server.engine.heartbeat_age = limit + 1
        response = await client.get("/livez")
    assert response.status_code == 503
    assert f"{limit + 1} seconds" in response.json()["error"]["message"]


@pytest.mark.parametrize("num_sequences", [0, 5, 6, 600])
async def test_who_has_a_full_queue_stays_ready_to_refuse(num_sequences: int) -> None:
    server = make_server(ServeSettings(max_queue=2))
    async with client_of(server) as client:
        server.engine.num_sequences = num_sequences  # in four slots
        for path in ("/readyz", "/livez", "/health"):
            assert (await client.get(path)).status_code == 200


async def test_props(client: httpx.AsyncClient) -> None:
    props = (await client.get("/props")).json()
    assert set(props) == {
        "default_generation_settings",
        "flash_attn",
        "total_slots",
        "model_alias",
        "model_ftype",
        "model_path",
        "modalities",
        "media_marker",
        "endpoint_slots",
        "endpoint_props",
        "endpoint_metrics",
        "ui",
        "ui_settings",
        "chat_template",
        "chat_template_caps",
        "bos_token",
        "eos_token",
        "build_info",
        "is_sleeping",
        "cors_proxy_enabled",
        "request_bounds",
    }
    assert props["total_slots"] == 4
    assert props["model_alias"] == MODEL_NAME
    assert props["model_path"] == "fake.gguf"
    assert (props["bos_token"], props["eos_token"]) == ("<s>", "</s>")
    assert props["default_generation_settings"]["n_ctx"] == 128
    assert props["default_generation_settings"]["params"]["temperature"] == 0.8
    assert "im_start" in props["chat_template"]
    assert props["chat_template_caps"]["supports_reasoning_effort"] is False


@pytest.mark.parametrize("effort", [True, False])
async def test_props_tell_whether_the_template_reads_the_effort(effort: bool) -> None:
    server = make_server()
    source = "{{ reasoning_effort }}" if effort else "{{ messages }}"
    context = replace(server.context, chat_template=ChatTemplate(source))
    async with client_of(replace(server, context=context)) as client:
        caps = (await client.get("/props")).json()["chat_template_caps"]
    assert caps["supports_reasoning_effort"] == effort


async def test_props_can_be_posted_only_if_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.post("/props", json={})
    assert response.status_code == 501
    assert response.json()["error"]["type"] == "not_supported_error"
    async with client_of(make_server(ServeSettings(props=True))) as willing:
        assert (await willing.post("/props", json={})).json() == {"success": True}


async def test_defaults_come_from_the_settings() -> None:
    server = make_server(ServeSettings(temp=0.1, n_predict=2, samplers=("top_k",)))
    async with client_of(server) as client:
        answer = (await client.post("/completion", json={"prompt": "a"})).json()
        props = (await client.get("/props")).json()
    assert answer["content"] == "Hello,"
    assert answer["generation_settings"]["temperature"] == 0.1
    assert answer["generation_settings"]["samplers"] == ["top_k"]
    assert props["default_generation_settings"]["params"]["n_predict"] == 2


async def test_slots(client: httpx.AsyncClient, server: FakeServer) -> None:
    server.engine.busy = 1
    server.engine.known_specs[100] = SequenceSpec(
        prompt=(1,), sampling=SamplingParams(), max_tokens=5
    )
    first, second, *_ = (await client.get("/slots")).json()
    assert first["is_processing"] is True
    assert first["id_task"] == 100
    assert first["n_prompt_tokens"] == 10
    assert first["n_prompt_tokens_processed"] == 7
    assert first["n_prompt_tokens_cache"] == 3
    assert first["next_token"] == [{"has_next_token": True, "n_remain": 3, "n_decoded": 2}]
    assert second["id"] == 1
    assert second["n_ctx"] == 128
    assert second["is_processing"] is False


@pytest.mark.parametrize(("busy", "status"), [(3, 200), (4, 503)])
async def test_slots_as_a_probe(
    client: httpx.AsyncClient, server: FakeServer, busy: int, status: int
) -> None:
    server.engine.busy = busy
    response = await client.get("/slots?fail_on_no_slot=1")
    assert response.status_code == status
    assert (await client.get("/slots")).status_code == 200
    if status == 503:
        assert response.json()["error"]["message"] == "no slot available"


async def test_slots_can_be_turned_off() -> None:
    async with client_of(make_server(ServeSettings(slots=False))) as client:
        assert (await client.get("/slots")).status_code == 501


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
async def test_models_in_both_shapes(client: httpx.AsyncClient, path: str) -> None:
    body = (await client.get(path)).json()
    assert body["object"] == "list"
    [model] = body["data"]
    assert model["id"] == MODEL_NAME
    assert model["object"] == "model"
    assert isinstance(model["created"], int)
    assert model["meta"] == {
        "vocab_type": 2,
        "n_vocab": 259,
        "n_ctx": 128,
        "n_ctx_train": 4096,
        "n_embd": 64,
        "n_params": 1000,
        "size": 2000,
        "ftype": "F16",
    }
    [ollama] = body["models"]
    assert ollama["model"] == ollama["name"] == MODEL_NAME
    assert ollama["details"]["format"] == "gguf"
    assert ollama["capabilities"] == ["completion"]


async def test_one_model_by_any_of_its_names() -> None:
    server = make_server(ServeSettings(alias=(MODEL_NAME, "org/other")))
    async with client_of(server) as client:
        for name in (MODEL_NAME, "org/other"):
            response = await client.get(f"/v1/models/{name}")
            assert response.json()["id"] == MODEL_NAME
        response = await client.get("/v1/models/gpt-4")
    assert response.status_code == 404
    error = response.json()["error"]
    assert error["type"] == "not_found_error"
    assert error["param"] == "model"
    assert "gpt-4" in error["message"]


async def test_metrics_only_if_asked_for(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.status_code == 501
    assert "--metrics" in response.json()["error"]["message"]


async def test_metrics() -> None:
    server = make_server(ServeSettings(metrics=True))
    server.context.metrics.observe_step(StepStats(0.1, 0.2, 0.3, 0.4, 0.5, 1, 2, 3, 4, 5))
    async with client_of(server) as client:
        await client.post("/completion", json={"prompt": "abc"})
        response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(response.headers["process-start-time-unix"]) > 1_600_000_000
    families = {family.name for family in text_string_to_metric_families(response.text)}
    assert "vllm:time_to_first_token_seconds" in families
    assert f'llamacpp:tokens_predicted_total{{model="{MODEL_NAME}"}} 4.0' in response.text
    assert f'llamacpp:prompt_tokens_total{{model="{MODEL_NAME}"}} 2.0' in response.text
    labels = f'finished_reason="stop",model="{MODEL_NAME}",model_name="{MODEL_NAME}"'
    assert f"vllm:request_success_total{{{labels}}} 1.0" in response.text


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"content": "ab"}, [97, 98]),
        ({"content": "ab", "add_special": True}, [BOS, 97, 98]),
        ({"content": "<s>a"}, [BOS, 97]),
        ({"content": "<s>", "parse_special": False}, [60, 115, 62]),
        ({"content": ["a", 98, "c"], "add_special": True}, [BOS, 97, 98, 99]),
        ({"content": ""}, []),
        ({}, []),
    ],
)
async def test_tokenize(client: httpx.AsyncClient, body: Any, tokens: list[int]) -> None:
    response = await client.post("/tokenize", json=body)
    assert response.json() == {"tokens": tokens}


async def test_pieces_are_texts_or_bytes(client: httpx.AsyncClient) -> None:
    body = {"content": "aé", "with_pieces": True, "add_special": True}
    response = await client.post("/tokenize", json=body)
    assert response.json()["tokens"] == [
        {"id": BOS, "piece": "<s>"},
        {"id": 97, "piece": "a"},
        {"id": 195, "piece": [195]},
        {"id": 169, "piece": [169]},
    ]


@pytest.mark.parametrize(
    "content",
    [
        "a" * (TOKENIZED_CHARS.most + 1),
        ["ab" * 1000] * 2000,
        [1, "\u4e2d" * TOKENIZED_CHARS.most, "a"],
    ],
    ids=["one", "many", "mixed"],
)
async def test_texts_to_tokenize_are_bounded(client: httpx.AsyncClient, content: Any) -> None:
    response = await client.post("/tokenize", json={"content": content})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "content"


async def test_detokenize(client: httpx.AsyncClient) -> None:
    response = await client.post("/detokenize", json={"tokens": [BOS, 195, 169, EOS]})
    assert response.json() == {"content": "<s>é</s>"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/detokenize", {"tokens": [9999]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens.0"),
        ("/tokenize", {"content": [9999]}, "content"),
        ("/tokenize", {"content": {"a": 1}}, "content"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/apply-template", {"messages": ["hi"]}, "messages.0"),
        ("/apply-template", {}, "messages"),
    ],
)
async def test_wrong_bodies(client: httpx.AsyncClient, path: str, body: Any, param: str) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_apply_template(client: httpx.AsyncClient) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    response = await client.post("/apply-template", json=body)
    assert response.json() == {"prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"}
    bare = {**body, "add_generation_prompt": False}
    response = await client.post("/apply-template", json=bare)
    assert response.json() == {"prompt": "<|im_start|>user\nhi<|im_end|>\n"}


async def test_an_outage_of_the_engine_is_told(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.engine.outage = "the engine can't be started (exit code 3)"
    response = await client.get("/livez")
    assert response.status_code == 503
    assert "exit code 3" in response.json()["error"]["message"]
