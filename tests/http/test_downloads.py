"""Models that clients have the server download and remove."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from config import ServeSettings
from server.access.key_ring import KeyRing
from server.app import create_app
from server.app_state import keep_state, state_of
from server.context import SharedContext
from server.observability.metrics import ServerMetrics
from server.pool.interface import PoolEvent, PoolEventKind
from server.pool.one import OneModel
from tests.http.test_access import key
from tests.support.fake_engines import FakeEngines, entry, pool_of
from tests.support.fake_server import make_server
from tests.support.local_hub import LocalHub, environment, gguf_bytes, local_hub

pytestmark = pytest.mark.anyio

FINISHED = (PoolEventKind.DOWNLOAD_FINISHED, PoolEventKind.DOWNLOAD_FAILED)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with local_hub() as hub:
        for name, value in environment(hub, tmp_path).items():
            monkeypatch.setenv(name, value)
        hub.repos["user/repo"] = {"m-Q8_0.gguf": gguf_bytes(50_000)}
        yield hub


def app_of(hub: LocalHub, *hosts: str) -> Starlette:
    """The application, where the hub's content may be asked too."""
    content = hub.content_url.removeprefix("http://")
    return create_app(make_server(ServeSettings(pull_hosts=(*hosts, content))).context)


def client_of(app: Starlette, host: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(host, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def app(hub: LocalHub) -> AsyncIterator[Starlette]:
    app = app_of(hub)
    yield app
    await state_of(app).downloads.close()


async def events_of(app: Starlette) -> AsyncIterator[PoolEvent]:
    """What happens, until a download ends."""
    async for event in state_of(app).pool.subscribe():
        yield event
        if event.kind in FINISHED:
            return


async def downloaded(app: Starlette, model: str) -> list[PoolEvent]:
    """Have a model downloaded; gives the events until the end."""
    events: list[PoolEvent] = []

    async def follow() -> None:
        async for event in events_of(app):
            events.append(event)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    async with client_of(app) as client:
        answer = await client.post("/models", json={"model": model})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    await asyncio.wait_for(following, 60)
    return events


def stored(home: Path) -> list[str]:
    return [path.name for path in home.rglob("*.gguf") if path.exists()]


async def test_a_download_is_told_to_all_who_listen(app: Starlette, tmp_path: Path) -> None:
    events = await downloaded(app, "user/repo:Q8_0")
    assert {event.model for event in events} == {"user/repo:Q8_0"}
    assert events[-1].kind is PoolEventKind.DOWNLOAD_FINISHED
    assert events[-1].data == {"name": "user/repo:Q8_0"}
    last: Any = events[-2].data["m-Q8_0.gguf"]
    assert (last["done"], last["total"], last["status"]) == (50_000, 50_000, "done")
    assert stored(tmp_path) == ["m-Q8_0.gguf"]


async def test_a_download_that_fails_says_why(app: Starlette) -> None:
    events = await downloaded(app, "user/repo:Q2_K")
    assert events[-1].kind is PoolEventKind.DOWNLOAD_FAILED
    assert "no model with quantization Q2_K; there are Q8_0" in str(events[-1].data["reason"])
    assert events[-1].data["cancelled"] is False


@pytest.mark.parametrize(
    "model",
    [
        "http://169.254.169.254/latest.gguf",
        "http://127.0.0.1:1/x.gguf",
        "https://example.com/x.gguf",
        "docker://smollm2",
        "ollama://llama3",
    ],
)
async def test_other_hosts_are_refused_at_once(app: Starlette, model: str) -> None:
    async with client_of(app) as client:
        answer = await client.post("/models", json={"model": model})
    assert answer.status_code == 403
    assert "--pull-hosts" in answer.json()["error"]["message"]


async def test_no_host_at_all(hub: LocalHub) -> None:
    app = create_app(make_server(ServeSettings(pull_hosts=("none",))).context)
    async with client_of(app) as client:
        answer = await client.post("/models", json={"model": "user/repo"})
    assert answer.status_code == 403
    assert hub.asked == []


@pytest.mark.parametrize("model", ["/etc/passwd", "./x.gguf", "~/x.gguf", "nothing", "a/b/c"])
async def test_what_is_no_reference_is_a_400(app: Starlette, model: str) -> None:
    async with client_of(app) as client:
        answer = await client.post("/models", json={"model": model})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize(("method", "path"), [("POST", "/models"), ("DELETE", "/models?model=x")])
@pytest.mark.parametrize(
    ("host", "headers"), [("10.0.0.7", {}), ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"})]
)
async def test_far_clients_change_nothing_without_keys(
    app: Starlette, method: str, path: str, host: str, headers: dict[str, str]
) -> None:
    async with client_of(app, host) as client:
        body = {"model": "user/repo"}
        answer = await client.request(method, path, json=body, headers=headers)
    assert answer.status_code == 403


async def test_with_keys_an_admins_is_needed(hub: LocalHub) -> None:
    keys = KeyRing([key("root"), key("user", is_admin=False)])
    app = create_app(make_server(ServeSettings(pull_hosts=("none",))).context, keys=keys)
    async with client_of(app, "10.0.0.7") as client:
        errors = {
            name: (
                await client.post(
                    "/models", json={"model": "user/repo"}, headers={"X-Api-Key": name}
                )
            ).json()["error"]["message"]
            for name in ("root", "user")
        }
    assert "--pull-hosts" in errors["root"]
    assert "may not change the server" in errors["user"]


async def test_the_model_that_is_served_stays(app: Starlette, tmp_path: Path) -> None:
    context = state_of(app).pool.only
    assert context is not None
    place = tmp_path / ".local" / "share" / "llamapack" / "models" / "served.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(gguf_bytes())
    pool = OneModel(replace(context, model_path=str(place)))
    keep_state(app, replace(state_of(app), pool=pool))
    async with client_of(app) as client:
        answer = await client.delete("/models", params={"model": "served"})
    assert "stop the server" in answer.json()["error"]["message"]
    assert place.exists()


async def test_unloading_calls_a_download_off(
    hub: LocalHub, app: Starlette, tmp_path: Path
) -> None:
    hub.piece_seconds = 0.05
    events: list[PoolEvent] = []
    async with client_of(app) as client:
        following = events_of(app)
        answer = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        await client.post("/models", json={"model": "user/repo"})
        events.append(await answer)
        gone = await client.post("/models/unload", json={"model": "user/repo"})
        events += [event async for event in following]
    assert gone.json() == {"success": True}
    assert events[-1].kind is PoolEventKind.DOWNLOAD_FAILED
    assert "cancelled" in str(events[-1].data["reason"])
    assert events[-1].data["cancelled"] is True
    assert stored(tmp_path) == []


async def test_what_is_being_downloaded_is_listed_for_admins(hub: LocalHub) -> None:
    hub.piece_seconds = 0.05
    settings = ServeSettings(pull_hosts=(hub.content_url.removeprefix("http://"),))
    pool = pool_of([entry("a")], FakeEngines())
    shared = SharedContext(settings=settings, metrics=ServerMetrics(""))
    keys = KeyRing([key("root"), key("user", is_admin=False)])
    app = create_app(shared, pool, keys=keys)
    async with client_of(app) as client:

        async def listed(who: str) -> dict[str, Any]:
            answer = await client.get("/v1/models", headers={"X-Api-Key": who})
            return {one["id"]: one for one in answer.json()["data"]}

        admin = {"X-Api-Key": "root"}
        await client.post("/models", json={"model": "user/repo:Q8_0"}, headers=admin)
        told: dict[str, Any] = {}
        while not told.get("progress"):
            await asyncio.sleep(0.01)
            told = (await listed("root"))["user/repo:Q8_0"]
        assert told["status"]["value"] == "downloading"
        progress = told["progress"]["m-Q8_0.gguf"]
        assert progress["done"] < progress["total"] == 50_000
        assert told.keys() >= {"object", "created", "owned_by"}
        assert (await listed("user")).keys() == {"a"}
        await client.post("/models/unload", json={"model": "user/repo:Q8_0"}, headers=admin)
        names = {"user/repo:Q8_0"}
        while "user/repo:Q8_0" in names:
            await asyncio.sleep(0.01)
            names = set(await listed("root"))
    await state_of(app).downloads.close()
    await pool.close()


async def test_a_stored_model_is_removed(app: Starlette, tmp_path: Path) -> None:
    await downloaded(app, "user/repo")
    async with client_of(app) as client:
        answer = await client.delete("/models", params={"model": "user/repo:Q8_0"})
        assert answer.json() == {"success": True}
        assert stored(tmp_path) == []
        again = await client.delete("/models", params={"model": "user/repo:Q8_0"})
        unnamed = await client.delete("/models")
    assert (again.status_code, unnamed.status_code) == (404, 400)


async def test_what_belongs_to_other_programs_stays(app: Starlette, tmp_path: Path) -> None:
    place = tmp_path / ".lmstudio" / "models" / "pub" / "model" / "m-Q6_K.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(gguf_bytes())
    async with client_of(app) as client:
        answer = await client.delete("/models", params={"model": "pub/model:Q6_K"})
    assert answer.status_code == 403
    assert place.exists()
