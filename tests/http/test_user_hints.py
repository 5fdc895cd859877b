"""Whom a request is for, in the words of each dialect: what the engine is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from protocol.messages import EmbeddingInfo
from server.app import create_app
from server.requests.sequence import user_digest
from tests.http.openai.conftest import Live, Serve, serve
from tests.support.fake_server import make_server

__all__ = ["serve"]

HI = [{"role": "user", "content": "Hi"}]
MESSAGES = {"model": "m", "max_tokens": 5, "messages": HI}
CHAT = {"messages": HI}
RESPONSE = {"input": "Hi"}
COMPLETION = {"prompt": "Hi"}


def user(live: Live, path: str, body: dict[str, Any], **fields: Any) -> str:
    answer = live.post(path, **body, **fields)
    assert answer.status_code == 200, answer.text
    return live.generator.opened[-1].spec.user


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/v1/messages", MESSAGES, {"metadata": {"user_id": "ann"}}),
        ("/v1/chat/completions", CHAT, {"user": "ann"}),
        ("/v1/chat/completions", CHAT, {"safety_identifier": "ann", "user": "bob"}),
        ("/v1/chat/completions", CHAT, {"prompt_cache_key": "ann"}),
        ("/v1/responses", RESPONSE, {"user": "ann", "prompt_cache_key": "thread 1"}),
        ("/v1/responses", RESPONSE, {"safety_identifier": "ann"}),
        ("/v1/responses", RESPONSE, {"prompt_cache_key": "ann"}),
        ("/v1/completions", COMPLETION, {"user": "ann"}),
    ],
)
def test_the_same_user_in_all_dialects(serve: Serve, path: str, body: Any, fields: Any) -> None:
    live = serve()
    ann = user(live, "/v1/chat/completions", CHAT, user="ann")
    assert user(live, path, body, **fields) == ann != ""
    assert "ann" not in ann
    assert user(live, path, body) == ""


@pytest.mark.parametrize(
    ("path", "body", "fields", "headers"),
    [
        ("/v1/embeddings", {"input": "Hi"}, {"user": "ann"}, {}),
        ("/embedding", {"content": "Hi"}, {"user": "ann"}, {}),
        ("/api/embed", {"model": "m", "input": "Hi"}, {}, {"X-OpenWebUI-User-Id": "ann"}),
        ("/api/embeddings", {"model": "m", "prompt": "Hi"}, {}, {"X-OpenWebUI-User-Id": "ann"}),
    ],
)
def test_the_user_of_vectors(path: str, body: Any, fields: Any, headers: Any) -> None:
    server = make_server()
    server.engine.embedding = EmbeddingInfo(
        pooling="mean", size=4, max_tokens=20, is_whole=True, max_rows=64
    )
    with TestClient(create_app(server.context)) as client:
        assert client.post(path, json={**body, **fields}, headers=headers).status_code == 200
        assert client.post(path, json=body).status_code == 200
    users = [request.spec.user for request in server.generator.opened]
    assert users == [user_digest("ann"), ""]


def test_a_long_name_is_short_in_the_engine(serve: Serve) -> None:
    live = serve()
    names = ["x" * 4000, "x" * 3999, '{"device_id":"0","session_id":"1"}', "Zoë 🦊"]
    found = [user(live, "/v1/messages", MESSAGES, metadata={"user_id": name}) for name in names]
    assert len(set(found)) == 4
    assert all(len(one) == 16 for one in found)


@pytest.mark.parametrize(
    ("path", "body", "fields", "param"),
    [
        ("/v1/messages", MESSAGES, {"metadata": {"user_id": 7}}, "metadata.user_id"),
        ("/v1/messages", MESSAGES, {"metadata": {"user_id": "x" * 5000}}, "metadata.user_id"),
        ("/v1/responses", RESPONSE, {"user": ["ann"]}, "user"),
        ("/v1/chat/completions", CHAT, {"safety_identifier": "x" * 5000}, "safety_identifier"),
    ],
)
def test_a_wrong_name_is_refused(
    serve: Serve, path: str, body: Any, fields: Any, param: str
) -> None:
    answer = serve().post(path, **body, **fields)
    assert answer.status_code == 400
    assert f"'{param}'" in answer.json()["error"]["message"]
