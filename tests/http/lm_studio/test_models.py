"""LM Studio's routes about models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from tests.support.fake_pool import FakePool, make_pool, pool_app
from tests.support.fake_server import key_ring, make_server


@pytest.fixture
def pool() -> FakePool:
    return make_pool("ada", "org/bob")


@pytest.fixture
def client(pool: FakePool) -> Iterator[TestClient]:
    with TestClient(pool_app(pool), raise_server_exceptions=False) as client:
        yield client


def one() -> TestClient:
    return TestClient(create_app(make_server().context), raise_server_exceptions=False)


def test_the_older_list() -> None:
    assert one().get("/api/v0/models").json() == {
        "object": "list",
        "data": [
            {
                "id": "fake-model",
                "object": "model",
                "type": "llm",
                "publisher": "",
                "arch": "llama",
                "compatibility_type": "gguf",
                "quantization": "F16",
                "state": "loaded",
                "max_context_length": 4096,
                "loaded_context_length": 128,
                "capabilities": [],
            }
        ],
    }


def test_the_newer_list() -> None:
    assert one().get("/api/v1/models").json() == {
        "models": [
            {
                "type": "llm",
                "publisher": "",
                "key": "fake-model",
                "display_name": "fake-model",
                "architecture": "llama",
                "quantization": {"name": "F16", "bits_per_weight": 16.0},
                "size_bytes": 2000,
                "params_string": "1K",
                "loaded_instances": [{"id": "fake-model", "config": {"context_length": 128}}],
                "max_context_length": 4096,
                "format": "gguf",
                "capabilities": {"vision": False, "trained_for_tool_use": False},
                "description": None,
            }
        ]
    }


@pytest.mark.parametrize("name", ["ada", "org/bob"])
def test_models_are_loaded_and_unloaded(pool: FakePool, client: TestClient, name: str) -> None:
    def state() -> str:
        found: str = client.get(f"/api/v0/models/{name}").json()["state"]
        return found

    assert state() == "not-loaded"
    body = {"model": name, "echo_load_config": True}
    answer = client.post("/api/v1/models/load", json=body).json()
    assert answer.pop("load_time_seconds") >= 0
    assert answer.pop("load_config")["context_length"] == 128
    assert answer == {"type": "llm", "instance_id": name, "status": "loaded"}
    assert state() == "loaded"
    [entry] = [m for m in client.get("/api/v1/models").json()["models"] if m["key"] == name]
    assert [instance["id"] for instance in entry["loaded_instances"]] == [name]
    unload = client.post("/api/v1/models/unload", json={"instance_id": name})
    assert (unload.status_code, unload.json()) == (200, {"instance_id": name})
    assert state() == "not-loaded"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v0/models/carl", None),
        ("POST", "/api/v1/models/load", {"model": "carl"}),
        ("POST", "/api/v1/models/unload", {"instance_id": "carl"}),
    ],
)
def test_unknown_models(client: TestClient, method: str, path: str, body: Any) -> None:
    answer = client.request(method, path, json=body)
    assert answer.status_code == 404
    assert "'carl'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("context_length", 4096, "--ctx-size"),
        ("eval_batch_size", 7, "--batch-size"),
        ("flash_attention", True, "--flash-attn"),
        ("num_experts", 2, "--override-kv"),
        ("offload_kv_cache_to_gpu", False, "--kv-offload"),
    ],
)
def test_settings_of_loading_are_the_servers(
    client: TestClient, field: str, value: Any, flag: str
) -> None:
    for asked in (client, one()):
        name = "ada" if asked is client else "fake-model"
        answer = asked.post("/api/v1/models/load", json={"model": name, field: value})
        assert answer.status_code == 400
        assert flag in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == field


def test_settings_that_are_in_force() -> None:
    body = {"model": "fake-model", "context_length": 128, "offload_kv_cache_to_gpu": True}
    assert one().post("/api/v1/models/load", json=body).status_code == 200


def test_the_one_model_stays() -> None:
    answer = one().post("/api/v1/models/unload", json={"instance_id": "fake-model"})
    assert answer.status_code == 501
    assert "stays" in answer.json()["error"]["message"]


def test_keys() -> None:
    client = TestClient(create_app(make_server().context, keys=key_ring("k")))
    assert client.get("/api/v1/models").status_code == 401
    headers = {"Authorization": "Bearer k"}
    assert client.get("/api/v1/models", headers=headers).status_code == 200
