"""No list, no look-up, no metric and no error shows a key a model that it may not use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from config import ServeSettings
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from tests.support.fake_pool import FakePool, make_pool, pool_app

HIDDEN = "hidden-model"
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}

Case = tuple[str, str, Any]

LISTS: list[Case] = [
    ("GET", "/v1/models", None),
    ("GET", "/models", None),
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("GET", "/api/v0/models", None),
    ("GET", "/api/v1/models", None),
    ("GET", "/metrics", None),
]

LOOKUPS: list[Case] = [
    ("GET", "/v1/models/{}", None),
    ("GET", "/models/{}", None),
    ("GET", "/metrics?model={}", None),
    ("GET", "/api/v0/models/{}", None),
    ("POST", "/api/show", {"model": "{}"}),
    ("POST", "/api/v1/models/load", {"model": "{}"}),
    ("POST", "/api/chat", {**CHAT, "model": "{}"}),
]
"""Where a hidden model doesn't exist."""

OTHERS: list[Case] = [
    ("POST", "/v1/chat/completions", {**CHAT, "model": "{}"}),
    ("POST", "/v1/messages", {**CHAT, "model": "{}", "max_tokens": 1}),
    ("POST", "/v1/responses", {"input": "Hi", "model": "{}"}),
    ("POST", "/completion", {"prompt": "Hi", "model": "{}"}),
    ("POST", "/tokenize", {"content": "Hi", "model": "{}"}),
    ("POST", "/v1/embeddings", {"input": "Hi", "model": "{}"}),
    ("GET", "/slots?model={}", None),
    ("GET", "/props?model={}", None),
]
"""Where a hidden model is refused."""


@pytest.fixture
def pool() -> FakePool:
    pool = make_pool("mine", HIDDEN)
    pool.in_memory = {"mine", HIDDEN}
    return pool


@pytest.fixture
def client(pool: FakePool) -> Iterator[TestClient]:
    keys = [
        ApiKey(name="some", digest=digest_of(b"some"), models=frozenset({"mine"}), is_admin=False),
        ApiKey(name="boss", digest=digest_of(b"boss")),
    ]
    app = pool_app(pool, ServeSettings(metrics=True), KeyRing(keys))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def asked(client: TestClient, case: Case, name: str, key: str) -> tuple[int, str]:
    method, path, body = case
    if body is not None:
        body = {field: name if value == "{}" else value for field, value in body.items()}
    headers = {"X-Api-Key": key} if key else {}
    reply = client.request(method, path.format(name), json=body, headers=headers)
    return reply.status_code, reply.text


@pytest.mark.parametrize("case", LISTS, ids=lambda case: case[1])
def test_lists(client: TestClient, case: Case) -> None:
    status, text = asked(client, case, "", "some")
    assert status == 200
    assert "mine" in text
    assert HIDDEN not in text
    assert HIDDEN in asked(client, case, "", "boss")[1]


@pytest.mark.parametrize("case", LOOKUPS, ids=lambda case: case[1])
def test_a_hidden_model_is_none(client: TestClient, case: Case) -> None:
    status, text = asked(client, case, HIDDEN, "some")
    unknown = asked(client, case, "unknown-model", "some")
    assert (status, text.replace(HIDDEN, "unknown-model")) == unknown
    assert status == 404


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case[1])
def test_a_hidden_model_is_refused(client: TestClient, case: Case) -> None:
    assert asked(client, case, HIDDEN, "some")[0] == 403


@pytest.mark.parametrize("case", LOOKUPS + OTHERS, ids=lambda case: case[1])
def test_errors_name_no_hidden_model(client: TestClient, case: Case) -> None:
    status, text = asked(client, case, "unknown-model", "some")
    assert status == 404
    assert HIDDEN not in text


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("path", ["/metrics", "/metrics?model=mine"])
def test_metrics_name_no_hidden_model(
    client: TestClient, pool: FakePool, path: str, is_loaded: bool, accept: str
) -> None:
    """What concerns the key's models, or no model, is as for all keys."""
    client.get("/health")  # the first answer is a new sample
    pool.in_memory = {"mine", HIDDEN} if is_loaded else set()
    texts = {
        key: client.get(path, headers={"X-Api-Key": key, "Accept": accept}).text
        for key in ("some", "boss")
    }
    assert HIDDEN not in texts["some"]
    assert (HIDDEN in texts["boss"]) == (path == "/metrics")
    assert samples_of(texts["some"], "mine") == samples_of(texts["boss"], "mine") != set()
    assert samples_of(texts["some"], "") == samples_of(texts["boss"], "") != set()


def test_metrics_of_a_key_without_models(pool: FakePool) -> None:
    key = ApiKey(name="none", digest=digest_of(b"none"), models=frozenset({"gone"}))
    app = pool_app(pool, ServeSettings(metrics=True), KeyRing([key]))
    with TestClient(app) as client:
        reply = client.get("/metrics", headers={"X-Api-Key": "none"})
    assert reply.status_code == 200
    assert set(re.findall(r'model="(.*?)"', reply.text)) == {""}


def samples_of(text: str, model: str) -> set[str]:
    """The names and labels of a model's samples, or of what concerns no model."""
    samples = re.findall(r"^(\w[\w:]*\{.*?\}) ", text, flags=re.MULTILINE)
    return {one for one in samples if f'model="{model}"' in one and 'key="' not in one}


def test_probes_name_no_model(client: TestClient) -> None:
    status, text = asked(client, ("GET", "/health?model={}", None), "unknown-model", "")
    assert status == 404
    assert HIDDEN not in text
    assert "mine" not in text


@pytest.mark.parametrize("name", ["x" * 1_000_000, "\0" * 100_000])
def test_errors_repeat_no_long_name(client: TestClient, name: str) -> None:
    case = ("POST", "/v1/chat/completions", {**CHAT, "model": "{}"})
    status, text = asked(client, case, name, "some")
    assert status in (400, 404)
    assert len(text) < 2000


def test_only_admins_read_the_sources_again(client: TestClient, pool: FakePool) -> None:
    reload = ("GET", "/models?reload=1", None)
    assert asked(client, reload, "", "some")[0] == 403
    assert pool.refreshed == 0
    assert asked(client, reload, "", "boss")[0] == 200
    assert pool.refreshed == 1


@pytest.mark.parametrize(
    "path", ["/api/v1/models/download/status", "/api/v1/models/download/status/job"]
)
def test_only_admins_see_downloads(client: TestClient, path: str) -> None:
    assert asked(client, ("GET", path, None), "", "some")[0] == 403
    assert asked(client, ("GET", path, None), "", "boss")[0] != 403
