"""Several models behind one address: requests choose, llama-server's router clients manage."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from config import ServeSettings
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from server.context import SharedContext
from server.llama_server.loading import event_json
from server.observability.metrics import ServerMetrics
from server.pool import routing
from server.pool.interface import PoolEvent
from server.pool.many import ManyModels
from tests.support.fake_engines import FakeEngines, entry, pool_of
from tests.support.inprocess import wait_until
from tests.support.live import DEADLINE

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


def key(name: str, *, models: frozenset[str] | None = None, is_admin: bool = False) -> ApiKey:
    return ApiKey(name=name, digest=digest_of(name.encode()), models=models, is_admin=is_admin)


class Served:
    """The application on a pool of fakes."""

    def __init__(self, client: httpx.AsyncClient, pool: ManyModels, maker: FakeEngines) -> None:
        self.client = client
        self.pool = pool
        self.maker = maker

    async def status(self, name: str, **headers: str) -> dict[str, Any]:
        data = (await self.client.get("/models", headers=headers)).json()["data"]
        status: dict[str, Any] = next(one for one in data if one["id"] == name)["status"]
        return status


@asynccontextmanager
async def serving(*keys: ApiKey, **settings: Any) -> AsyncIterator[Served]:
    maker = FakeEngines(load_seconds=dict.fromkeys("abc", 0.02), stop_seconds=0.01)
    variants = {"a:cold": ServeSettings(alias=("a:cold", "a"), temp=0.0)}
    entries = [entry("a", variants=variants), entry("b"), entry("c")]
    pool = pool_of(entries, maker)
    shared = SharedContext(settings=ServeSettings(**settings), metrics=ServerMetrics(""))
    app = create_app(shared, pool, keys=KeyRing(keys))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Served(client, pool, maker)
    finally:
        await pool.close()


async def test_each_dialect_is_answered_by_the_model_that_it_names() -> None:
    bodies: dict[str, dict[str, object]] = {
        CHAT: {},
        "/v1/completions": {"prompt": "a"},
        "/completion": {"prompt": "a"},
        "/v1/messages": {"max_tokens": 5},
        "/v1/responses": {"input": "a"},
    }
    async with serving() as served:
        for path, fields in bodies.items():
            for name in ("a", "b"):
                body = {**chat(name), **fields}
                answer = (await served.client.post(path, json=body)).json()
                assert answer["model"] == name, path
        assert served.maker.num_loads == 2


async def test_other_routes_ask_the_model_of_the_body_or_of_the_query() -> None:
    async with serving(props=True) as served:
        client = served.client
        tokens = (await client.post("/tokenize", json={"model": "a", "content": "hi"})).json()
        assert tokens["tokens"] == [104, 105]
        assert (await client.get("/props?model=b")).json()["model_alias"] == "b"
        assert len((await client.get("/slots?model=a")).json()) == 4
        assert (await client.get("/lora-adapters?model=a")).json() == []
        counted = await client.post("/v1/messages/count_tokens?model=a", json=chat("zzz"))
        assert counted.status_code == 200, "the query comes first"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (chat("z"), 404, "there is no model 'z' here; this server serves 'a', 'b', 'c'"),
        ({"messages": []}, 400, "'model' is required"),
        (chat(5), 400, "'model' must be a string"),  # type: ignore[arg-type]
        (chat("a", keep_alive="soon"), 400, "'keep_alive' must be a number of seconds"),
        ([1], 400, "the body must be a JSON object"),
    ],
)
async def test_a_wrong_model_is_refused_by_name(body: object, status: int, words: str) -> None:
    async with serving() as served:
        response = await served.client.post(CHAT, json=body)
        assert (response.status_code, words in response.text) == (status, True), response.text
        assert not served.maker.num_loads


async def test_broken_json_says_where() -> None:
    async with serving() as served:
        response = await served.client.post(CHAT, content=b'{"model": "a",\n oops}')
        assert "(line 2, column 2)" in response.json()["error"]["message"]


async def test_large_bodies_arrive_whole() -> None:
    async with serving() as served:
        text = "x" * 100_000
        body = {"model": "a", "content": text}
        tokens = (await served.client.post("/tokenize", json=body)).json()["tokens"]
        assert len(tokens) == len(text)


async def test_an_alias_has_its_own_settings_and_shares_the_engine() -> None:
    async with serving() as served:
        answer = (await served.client.post(CHAT, json=chat("a:cold"))).json()
        assert answer["model"] == "a:cold"
        props = (await served.client.get("/props?model=a:cold")).json()
        assert props["default_generation_settings"]["params"]["temperature"] == 0.0
        assert served.maker.num_loads == 1


async def test_the_model_is_used_until_the_last_byte_of_a_stream() -> None:
    async with serving() as served:
        request = served.client.build_request("POST", CHAT, json=chat("a", stream=True))
        response = await served.client.send(request, stream=True)
        assert response.status_code == 200
        await response.aread()
        assert served.pool.find("a").num_users == 0


async def test_the_router_s_list_tells_what_each_model_does() -> None:
    async with serving() as served:
        client = served.client
        assert (await served.status("a"))["value"] == "unloaded"
        await client.post(CHAT, json=chat("a"))
        status = await served.status("a")
        assert status["value"] == "loaded"
        assert status["memory"]["host"] > 0
        served.maker.failures["b"] = "no such tensor"
        failed = await client.post(CHAT, json=chat("b"))
        assert (failed.status_code, "Retry-After" in failed.headers) == (503, True)
        status = await served.status("b")
        assert status["value"] == "unloaded"
        assert (status["failed"], status["exit_code"]) == (True, 1)
        one = (await client.get("/v1/models/a")).json()
        assert (one["id"], one["meta"]["n_vocab"], one["aliases"]) == ("a", 259, ["a:cold"])


async def test_models_are_loaded_and_unloaded_by_request() -> None:
    async with serving() as served:
        client = served.client
        for path, again in (
            ("/models/load", "model is already running"),
            ("/models/unload", "model is not running"),
        ):
            assert (await client.post(path, json={"model": "a"})).json() == {"success": True}
            second = await client.post(path, json={"model": "a"})
            assert (second.status_code, second.json()["error"]["message"]) == (400, again)
        assert (await client.post("/models/load", json={"model": "z"})).status_code == 404
        assert served.maker.events == ["load a", "stop a"]


async def test_a_query_decides_whether_a_request_loads() -> None:
    async with serving() as served:
        refused = await served.client.post(f"{CHAT}?autoload=false", json=chat("a"))
        assert (refused.status_code, "model is not loaded" in refused.text) == (400, True)
        await served.client.post("/models/load", json={"model": "a"})
        found = await served.client.post(f"{CHAT}?autoload=false", json=chat("a"))
        assert found.status_code == 200


async def test_probes_and_metrics_load_nothing() -> None:
    async with serving(metrics=True) as served:
        client = served.client
        for path in ("/health", "/livez", "/readyz", "/v1/models", "/props", "/metrics?model=a"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.get("/health?model=a")).status_code == 503
        assert (await client.get("/health?model=zzz")).status_code == 404
        assert not served.maker.num_loads


async def test_metrics_have_the_label_of_each_model() -> None:
    async with serving(metrics=True) as served:
        await served.client.post(CHAT, json=chat("a"))
        await served.client.post(CHAT, json=chat("b"))
        page = (await served.client.get("/metrics")).text
        for name in "ab":
            assert f'llamapack_model_loads_total{{model="{name}"}} 1.0' in page
            assert f'llamacpp:tokens_predicted_total{{model="{name}"}} 4.0' in page
        assert 'llamapack_http_responses_total{model="",status="200"} 2.0' in page
        assert page.count("# TYPE llamapack_model_loads_total") == 1
        only = (await served.client.get("/metrics?model=a")).text
        assert 'model="a"' in only
        assert 'model="b"' not in only


async def test_what_happens_to_models_can_be_followed() -> None:
    async with serving() as served:
        events = served.pool.subscribe()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await served.client.post("/models/load", json={"model": "a"})
        event = await first
        assert (event.model, event.kind.value) == ("a", "model_status")


async def test_a_key_sees_and_uses_its_own_models_only() -> None:
    mine = key("mine", models=frozenset({"a"}))
    async with serving(mine, key("boss", is_admin=True)) as served:
        client, headers = served.client, {"X-Api-Key": "mine"}
        names = (await client.get("/v1/models", headers=headers)).json()["data"]
        assert [one["id"] for one in names] == ["a"]
        assert (await client.post(CHAT, json=chat("a"), headers=headers)).status_code == 200
        assert (await client.post(CHAT, json=chat("a:cold"), headers=headers)).status_code == 200
        refused = await client.post(CHAT, json=chat("b"), headers=headers)
        assert refused.status_code == 403
        assert (await client.get("/v1/models/b", headers=headers)).status_code == 404
        for sender, status in ((headers, 403), ({"X-Api-Key": "boss"}, 200)):
            answer = await client.post("/models/unload", json={"model": "a"}, headers=sender)
            assert answer.status_code == status
        assert served.maker.num_loads == 1


async def test_only_an_admin_can_make_a_model_stay_or_go_early() -> None:
    async with serving(key("user"), key("boss", is_admin=True)) as served:

        async def ask(who: str, keep_alive: object) -> None:
            body, headers = chat("a", keep_alive=keep_alive), {"X-Api-Key": who}
            assert (await served.client.post(CHAT, json=body, headers=headers)).is_success

        await ask("user", -1)
        assert not served.pool.find("a").is_pinned
        await ask("user", 0)
        await asyncio.sleep(0.1)
        assert served.maker.num_loads == 1
        await ask("boss", -1)
        assert served.pool.find("a").is_pinned
        await ask("boss", "0s")
        await wait_until(lambda: served.maker.events == ["load a", "stop a"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams begin soon, and ping often."""
    monkeypatch.setattr(routing, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(routing, "PING_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_a_stream_begins_while_its_model_is_loaded() -> None:
    async with serving() as served:
        served.maker.load_seconds["a"] = 0.2
        response = await served.client.post(CHAT, json=chat("a", stream=True))
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.startswith(":\n\n:\n\n")
        assert '"content":"Hello"' in response.text
        assert response.text.endswith("data: [DONE]\n\n")
        assert served.pool.find("a").num_users == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("path", "prefix", "kind"),
    [
        (CHAT, "data: ", ("error", "type", "unavailable_error")),
        ("/completion", "data: ", ("error", "type", "unavailable_error")),
        ("/v1/messages", "event: error\ndata: ", ("error", "type", "overloaded_error")),
        ("/v1/responses", "event: error\ndata: ", ("code", "", "server_is_overloaded")),
    ],
)
async def test_an_error_after_its_begin_is_an_event_of_the_dialect(
    path: str, prefix: str, kind: tuple[str, str, str]
) -> None:
    async with serving() as served:
        served.maker.load_seconds["a"] = 0.1
        served.maker.failures["a"] = "the file ends too early"
        body = chat("a", stream=True, prompt="a", input="a", max_tokens=5)
        response = await served.client.post(path, json=body)
        last = response.text.rstrip("\n").split(":\n\n")[-1]
        assert last.startswith(prefix)
        event = json.loads(last.removeprefix(prefix))
        found = event[kind[0]][kind[1]] if kind[1] else event[kind[0]]
        assert found == kind[2]
        assert "the file ends too early" in last


@pytest.mark.usefixtures("impatient")
async def test_a_whole_answer_just_waits_and_its_error_has_a_status() -> None:
    async with serving() as served:
        served.maker.load_seconds["a"] = 0.1
        served.maker.failures["a"] = "no"
        assert (await served.client.post(CHAT, json=chat("a"))).status_code == 503


async def test_a_response_of_the_background_keeps_its_model() -> None:
    async with serving() as served:
        body = {"model": "a", "input": "a", "background": True}
        made = (await served.client.post("/v1/responses", json=body)).json()
        now = made
        async with asyncio.timeout(DEADLINE):
            while now["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.01)
                now = (await served.client.get(f"/v1/responses/{made['id']}")).json()
        assert (now["status"], now["model"]) == ("completed", "a")


async def test_ollama_s_clients_choose_load_and_unload_models() -> None:
    async with serving() as served:
        client = served.client
        body = chat("a:latest", stream=False)
        answer = await client.post("/api/chat", json=body)
        assert (answer.status_code, answer.json()["message"]["content"]) == (
            200,
            "Hello, world\n",
        )
        running = (await client.get("/api/ps")).json()["models"]
        assert [one["name"] for one in running] == ["a:latest"]
        names = [one["name"] for one in (await client.get("/api/tags")).json()["models"]]
        assert sorted(names) == ["a:latest", "b:latest", "c:latest"]
        unknown = await client.post("/api/chat", json=chat("z", stream=False))
        assert (unknown.status_code, "z" in unknown.json()["error"]) == (404, True)
        await client.post("/api/generate", json={"model": "a", "keep_alive": 0})
        await wait_until(lambda: served.maker.events == ["load a", "stop a"])


async def test_lm_studio_s_clients_load_and_unload_models() -> None:
    async with serving() as served:
        client = served.client
        loaded = await client.post("/api/v1/models/load", json={"model": "a"})
        assert loaded.status_code == 200, loaded.text
        unloaded = await client.post("/api/v1/models/unload", json={"instance_id": "a"})
        assert unloaded.status_code == 200, unloaded.text
        assert served.maker.events == ["load a", "stop a"]


async def test_events_are_written_as_llama_server_writes_them() -> None:
    async with serving() as served:
        events = served.pool.subscribe()
        heard = asyncio.ensure_future(_first(events, 2))
        await asyncio.sleep(0)
        await served.client.post("/models/load", json={"model": "a"})
        first, second = (event_json(event) for event in await heard)
        assert (first["model"], first["event"]) == ("a", "model_status")
        assert first["data"]["status"] == "loading"
        assert first["data"]["progress"]["stages"] == ["text_model"]
        assert second["data"]["status"] == "loaded"


async def _first(events: AsyncIterator[PoolEvent], count: int) -> list[PoolEvent]:
    return [await anext(events) for _ in range(count)]
