"""Key limits, cross-origin requests, the audit log and the shutdown of a server, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from config import ServeSettings
from protocol.messages import EmbeddingInfo
from server.access import cache_owner
from server.access.access_record import access_record
from server.access.audit_log import AuditLog
from server.access.key import ApiKey, KeyQuota, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from server.errors import Unavailable
from tests.support.fake_server import FakeServer, make_server
from tests.support.inprocess import wait_until
from tests.support.live import serving, wait_for

pytestmark = pytest.mark.anyio

BODY = {"prompt": "abcd"}


def key(name: str, **rights: Any) -> ApiKey:
    """A key whose name is its secret."""
    return ApiKey(name=name, digest=digest_of(name.encode()), **rights)


@asynccontextmanager
async def client_of(
    server: FakeServer, *keys: ApiKey, audit: AuditLog | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the first of the keys, unless a request brings another."""
    app = create_app(server.context, keys=KeyRing(keys), audit=audit)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-Api-Key": keys[0].name} if keys else {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


# --- rights ------------------------------------------------------------------------------


async def test_a_key_says_whose_the_request_is(server: FakeServer) -> None:
    alice = key("alice", weight=2.5, max_priority=3, cache_owner=cache_owner.EVERYBODY)
    async with client_of(server, alice) as client:
        for path in ("/completion", "/v1/completions"):
            body = BODY | {"priority": 3, "cache_salt": "s"}
            assert (await client.post(path, json=body)).status_code == 200
    for request in server.generator.opened:
        assert (request.spec.tenant, request.spec.weight) == ("alice", 2.5)
        assert (request.spec.priority, request.spec.cache_salt) == (3, "s")


@pytest.mark.parametrize(
    ("path", "body", "pooling"),
    [
        ("/completion", BODY | {"n": 2}, None),
        ("/v1/completions", BODY | {"stream": True}, None),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, None),
        ("/v1/embeddings", {"input": ["ab", "c"]}, "mean"),
        ("/embedding", {"content": "ab"}, "last"),
        ("/rerank", {"query": "q", "documents": ["b", "z"]}, "rank"),
    ],
)
@pytest.mark.parametrize("given", [None, "", "s", "key:bob"])
async def test_every_route_puts_the_key_into_the_salt(
    server: FakeServer, path: str, body: dict[str, Any], pooling: str | None, given: str | None
) -> None:
    if pooling is not None:
        server.engine.embedding = EmbeddingInfo(
            pooling=pooling, size=4, max_tokens=20, is_whole=True, max_rows=64
        )
    keys = [key("alice"), key("bob", cache_owner=cache_owner.of_key("bob"))]
    async with client_of(server, *keys) as client:
        for one in keys:
            headers = {"X-Api-Key": one.name}
            answer = await client.post(path, json=body | {"cache_salt": given}, headers=headers)
            assert answer.status_code == 200
            salts = {request.spec.cache_salt for request in server.generator.opened}
            assert salts == {one.salt(given or "")}
            server.generator.opened.clear()


async def test_without_keys_nobody_is_anybody(server: FakeServer) -> None:
    async with client_of(server) as client:
        body = {"messages": [{"role": "user", "content": "a"}], "priority": 1000}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    [request] = server.generator.opened
    assert (request.spec.tenant, request.spec.weight, request.spec.priority) == ("", 1.0, 1000)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_priority_above_the_keys_is_refused(server: FakeServer, stream: bool) -> None:
    async with client_of(server, key("alice", max_priority=3)) as client:
        response = await client.post("/completion", json=BODY | {"priority": 4, "stream": stream})
    assert response.status_code == 403
    error = response.json()["error"]
    assert (error["type"], error["param"]) == ("permission_error", "priority")
    assert "at most 3 for the key 'alice' (got 4)" in error["message"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("priority", 1001, "'priority' must be at most 1000"),
        ("priority", "high", "'priority' must be a number"),
        ("cache_salt", 5, "'cache_salt' must be a string"),
        ("cache_salt", "a" * 257, "'cache_salt' must have at most 256 characters"),
        ("cache_salt", "a\0b", "'cache_salt' must not contain the character U+0000"),
    ],
)
async def test_fields_out_of_bounds(
    client: httpx.AsyncClient, field: str, value: object, message: str
) -> None:
    for path in ("/completion", "/v1/completions"):
        response = await client.post(path, json=BODY | {field: value})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == field
        assert message in response.json()["error"]["message"]


async def test_a_model_that_is_not_allowed(server: FakeServer) -> None:
    other = key("alice", models=frozenset({"other"}))
    async with client_of(server, other, key("bob", models=frozenset({"fake-model"}))) as client:
        refused = await client.post("/completion", json=BODY)
        allowed = await client.post("/completion", json=BODY, headers={"X-Api-Key": "bob"})
    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "model"
    assert allowed.status_code == 200


async def test_only_admins_change_the_server() -> None:
    server = make_server(ServeSettings(props=True))
    async with client_of(server, key("alice", is_admin=False), key("root")) as client:
        refused = await client.post("/props", json={})
        assert refused.status_code == 403
        assert "'alice' may not change the server" in refused.json()["error"]["message"]
        assert (await client.get("/props")).status_code == 200
        assert (await client.get("/slots")).status_code == 200
        allowed = await client.post("/props", json={}, headers={"X-Api-Key": "root"})
        assert allowed.status_code == 200


# --- limits ------------------------------------------------------------------------------


async def test_requests_above_the_limit(server: FakeServer) -> None:
    quota = KeyQuota(requests_per_minute=2)
    async with client_of(server, key("alice", quota=quota), key("bob")) as client:
        first = await client.post("/completion", json=BODY)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in first.headers
        # Reading is free; a POST with a wrong body counts.
        assert (await client.get("/slots")).headers["x-ratelimit-remaining-requests"] == "1"
        assert (await client.post("/completion", json={})).status_code == 400
        refused = await client.post("/completion", json=BODY)
        assert refused.status_code == 429
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.json()["error"]["type"] == "rate_limit_error"
        other = await client.post("/completion", json=BODY, headers={"X-Api-Key": "bob"})
        assert other.status_code == 200
        assert "x-ratelimit-limit-requests" not in other.headers
    assert len(server.generator.opened) == 2


async def test_tokens_above_the_limit(server: FakeServer) -> None:
    """The prompt counts once, also for several choices; each generated token counts."""
    async with client_of(server, key("alice", quota=KeyQuota(tokens_per_minute=100))) as client:
        first = await client.post("/completion", json={"prompt": "x" * 20, "n": 2})
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-tokens"] == "100"
        # 21 tokens of the prompt, and four times two tokens of the answers
        assert int(first.headers["x-ratelimit-remaining-tokens"]) == 71
        refused = await client.post("/completion", json={"prompt": "x" * 80})
        assert refused.status_code == 429
        assert "100 tokens a minute" in refused.json()["error"]["message"]
        impossible = await client.post("/completion", json={"prompt": "x" * 100})
        assert impossible.status_code == 403
        fitting = await client.post("/completion", json={"prompt": "x" * 50, "stream": True})
        assert fitting.status_code == 200
    assert len(server.generator.opened) == 3


async def test_a_running_answer_is_never_cut_by_the_limit(server: FakeServer) -> None:
    server.generator.pieces = ["a"] * 50
    async with client_of(server, key("alice", quota=KeyQuota(tokens_per_minute=10))) as client:
        response = await client.post("/completion", json=BODY)
        assert response.json()["tokens_predicted"] == 50
        later = await client.post("/completion", json=BODY)
        assert later.status_code == 429
        assert int(later.headers["retry-after"]) > 60


@pytest.mark.parametrize("stream", [False, True])
async def test_requests_at_once(server: FakeServer, stream: bool) -> None:
    server.generator.delay = 0.05
    async with client_of(server, key("alice", quota=KeyQuota(max_concurrent=2))) as client:
        body = BODY | {"stream": stream}
        statuses = [
            response.status_code
            for response in await asyncio.gather(
                *(client.post("/completion", json=body) for _ in range(5))
            )
        ]
        assert sorted(statuses) == [200, 200, 429, 429, 429]
        assert (await client.post("/completion", json=body)).status_code == 200


def test_a_client_that_leaves_frees_its_place(server: FakeServer) -> None:
    server.generator.pieces = ["a"] * 1000
    server.generator.delay = 0.01
    alice = key("alice", quota=KeyQuota(max_concurrent=1))
    app = create_app(server.context, keys=KeyRing([alice]))

    def status_of_a_glance() -> int:
        body = BODY | {"stream": True}
        with client.stream("POST", f"{url}/completion", json=body) as response:
            next(response.iter_lines())
            return response.status_code

    with serving(app) as url, httpx.Client(headers={"X-Api-Key": "alice"}) as client:
        for _ in range(3):
            assert wait_for(lambda: status_of_a_glance() == 200)


def test_the_official_client_understands_a_refusal(server: FakeServer) -> None:
    app = create_app(
        server.context, keys=KeyRing([key("alice", quota=KeyQuota(requests_per_minute=1))])
    )
    with (
        serving(app) as url,
        openai.OpenAI(
            base_url=f"{url}/v1",
            api_key="alice",
            max_retries=0,
            # Loading certificates takes longer than most tests.
            http_client=openai.DefaultHttpxClient(verify=False),
        ) as client,
    ):
        client.completions.create(model="fake-model", prompt="a")
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(model="fake-model", prompt="a")
        assert caught.value.response.headers["x-ratelimit-limit-requests"] == "1"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="x").completions.create(model="fake-model", prompt="a")


async def test_keys_change_while_an_answer_runs(server: FakeServer) -> None:
    server.generator.delay = 0.02
    keys = KeyRing([key("alice", quota=KeyQuota(max_concurrent=1))])
    transport = httpx.ASGITransport(create_app(server.context, keys=keys))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        headers = {"X-Api-Key": "alice"}
        running = asyncio.create_task(client.post("/completion", json=BODY, headers=headers))
        await wait_until(lambda: bool(server.generator.opened))
        keys.replace([key("bob")], 0)
        assert (await client.get("/slots", headers=headers)).status_code == 401
        assert (await client.get("/slots", headers={"X-Api-Key": "bob"})).status_code == 200
        assert (await running).json()["content"] == "Hello, world\n"


# --- pages of other origins --------------------------------------------------------------


async def test_pages_of_a_named_origin_are_served() -> None:
    server = make_server(ServeSettings(cors_origins=("https://a.example",)))
    async with client_of(server, key("alice")) as client:
        asked = {
            "Origin": "https://a.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
            "X-Api-Key": "",
        }
        preflight = await client.options("/completion", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        for headers, status in (({}, 200), ({"X-Api-Key": "wrong"}, 401)):
            answer = await client.post(
                "/completion", json=BODY, headers={"Origin": "https://a.example", **headers}
            )
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://a.example"
            assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
            assert "access-control-allow-credentials" not in answer.headers
        foreign = await client.get("/slots", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


async def test_any_origin_comes_without_credentials() -> None:
    # The command line refuses this pair; the application must be safe by itself.
    server = make_server(ServeSettings(cors_origins=("*",), cors_credentials=True))
    async with client_of(server) as client:
        answer = await client.get("/health", headers={"Origin": "https://a.example"})
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-credentials" not in answer.headers


# --- audit log ---------------------------------------------------------------------------


@pytest.fixture
def read_audit(tmp_path: Path) -> tuple[AuditLog, Callable[[], list[dict[str, Any]]]]:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)

    def read() -> list[dict[str, Any]]:
        log.close()
        return [json.loads(line) for line in path.read_text().splitlines()]

    return log, read


async def test_every_request_has_a_line(server: FakeServer, read_audit: Any) -> None:
    log, read = read_audit
    async with client_of(server, key("alice"), audit=log) as client:
        await client.post("/completion", json=BODY | {"n": 2}, headers={"X-Request-Id": "id-1"})
        await client.post("/completion", json=BODY | {"stream": True, "n_predict": 1})
        await client.get("/slots", headers={"X-Api-Key": "wrong"})
        await client.get("/health")
    first, second, third = read()
    assert first["request_id"] == "id-1"
    assert (first["key"], first["client"], first["model"]) == ("alice", "127.0.0.1", "fake-model")
    assert (first["method"], first["path"], first["status"]) == ("POST", "/completion", 200)
    counts = [first[name] for name in ("prompt_tokens", "cached_tokens", "generated_tokens")]
    assert counts == [5, 2, 8]
    assert 0 <= first["first_token_ms"] <= first["total_ms"]
    assert first["stop"] == "eos"
    assert "prompts" not in first
    assert (second["stop"], second["generated_tokens"]) == ("limit", 1)
    assert (third["key"], third["status"], third["stop"]) == (None, 401, None)


async def test_a_stream_that_fails_shows_in_its_line(server: FakeServer, read_audit: Any) -> None:
    log, read = read_audit
    server.generator.fail_after = (2, Unavailable("gone"))
    async with client_of(server, audit=log) as client:
        await client.post("/completion", json=BODY | {"stream": True})
    [line] = read()
    assert (line["status"], line["stop"]) == (200, "unavailable_error")
    assert (line["key"], line["generated_tokens"]) == (None, 2)


# --- the end -----------------------------------------------------------------------------


async def test_who_has_not_heard_of_the_end_is_still_answered(server: FakeServer) -> None:
    async with client_of(server) as client:
        server.context.drain.begin()
        response = await client.post("/completion", json=BODY)
        assert response.status_code == 200
        assert response.headers["connection"] == "close"
        assert (await client.get("/readyz")).status_code == 503


async def test_draining_refuses_new_work(server: FakeServer) -> None:
    server.generator.delay = 0.02
    async with client_of(server) as client:
        running = asyncio.create_task(client.post("/completion", json=BODY))
        await wait_until(lambda: bool(server.generator.opened))
        server.context.drain.begin()
        server.context.drain.close()
        late = await client.post("/completion", json=BODY)
        assert late.status_code == 503
        assert late.headers["connection"] == "close"
        assert late.json()["error"]["type"] == "unavailable_error"
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/slots")).headers["connection"] == "close"
        assert (await running).json()["content"] == "Hello, world\n"


async def test_no_answer_tells_where_the_model_lies(client: httpx.AsyncClient) -> None:
    for path in ("/props", "/v1/models", "/slots", "/models/x"):
        assert "/models/fake" not in (await client.get(path)).text


async def test_two_requests_have_two_records() -> None:
    one: dict[str, Any] = {}
    assert access_record(one) is access_record(one)
    assert access_record(one) is not access_record({})


@pytest.mark.parametrize("path", ["/completion", "/v1/completions"])
async def test_too_many_answers_at_once(client: httpx.AsyncClient, path: str) -> None:
    body = {"prompt": ["a"] * 1000, "n": 2}
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert "'n' must be at most 1 with 1000 prompts" in response.json()["error"]["message"]
