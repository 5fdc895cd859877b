"""LoRA adapters over HTTP: the list, the scales, and the adapters of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from config import ServeSettings
from protocol.commands import LoraSet
from server.app import create_app
from tests.http.test_access import client_of, key
from tests.support.fake_server import FakeServer, make_server

pytestmark = pytest.mark.anyio

SETTINGS = ServeSettings(
    lora=("/models/a.gguf", "/models/b.gguf"),  # type: ignore[arg-type]
    lora_scaled=("c.gguf:0.5",),  # type: ignore[arg-type]
)
A, B, C = "of a.gguf", "of b.gguf", "of c.gguf"


@pytest.fixture
def server() -> FakeServer:
    return make_server(SETTINGS)


async def scales(client: httpx.AsyncClient) -> list[float]:
    adapters = (await client.get("/lora-adapters")).json()
    assert [adapter["id"] for adapter in adapters] == list(range(len(adapters)))
    return [adapter["scale"] for adapter in adapters]


def used(server: FakeServer) -> LoraSet:
    """The LoRA set of the latest sequence."""
    return server.generator.opened[-1].spec.lora


async def test_adapters_are_listed(client: httpx.AsyncClient) -> None:
    adapters = (await client.get("/lora-adapters")).json()
    assert adapters[2] == {
        "id": 2,
        "path": "c.gguf",
        "scale": 0.5,
        "task_name": "",
        "prompt_prefix": "",
    }
    assert [adapter["path"] for adapter in adapters] == ["a.gguf", "b.gguf", "c.gguf"]


async def test_without_adapters_the_list_is_empty() -> None:
    transport = httpx.ASGITransport(create_app(make_server().context))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/lora-adapters")).json() == []
        assert (await client.post("/lora-adapters", json=[])).json() == {"success": True}
        answer = await client.post("/lora-adapters", json=[{"id": 0, "scale": 1}])
        assert answer.status_code == 400


async def test_the_flags_say_what_requests_get_that_do_not_say(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    await client.post("/completion", json={"prompt": "a", "lora": None})
    assert used(server) == ((A, 1.0), (B, 1.0), (C, 0.5))


async def test_adapters_can_be_loaded_without_being_applied() -> None:
    settings = SETTINGS.model_copy(update={"lora_init_without_apply": True})
    server = make_server(settings)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(server.context)), base_url="http://test"
    ) as client:
        assert await scales(client) == [0, 0, 0]
        await client.post("/completion", json={"prompt": "a"})
    assert used(server) == ()


async def test_new_scales_are_for_requests_from_then_on(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    answer = await client.post("/lora-adapters", json=[{"id": 1, "scale": -0.5}])
    assert answer.json() == {"success": True}
    assert await scales(client) == [0, -0.5, 0]
    await client.post("/completion", json={"prompt": "a"})
    assert used(server) == ((B, -0.5),)
    props = (await client.get("/props")).json()["default_generation_settings"]
    assert props["params"]["lora"] == [{"id": 1, "scale": -0.5}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": "a"}),
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
@pytest.mark.parametrize(
    ("lora", "expected"),
    [
        ([], ()),
        ([{"id": 2, "scale": 1}], ((C, 1.0),)),
        ([{"id": 1, "scale": 0.25}, {"id": 0, "scale": 2}], ((A, 2.0), (B, 0.25))),
        ([{"id": 1, "scale": 0}], ()),
    ],
)
async def test_a_request_chooses_and_what_it_does_not_list_is_off(
    client: httpx.AsyncClient,
    server: FakeServer,
    path: str,
    body: dict[str, Any],
    lora: list[dict[str, float]],
    expected: LoraSet,
) -> None:
    answer = await client.post(path, json={**body, "lora": lora})
    assert answer.status_code == 200
    assert used(server) == expected


async def test_the_answer_tells_what_it_was_computed_with(client: httpx.AsyncClient) -> None:
    body = {"prompt": "a", "lora": [{"id": 2, "scale": 1}, {"id": 0, "scale": 0}]}
    answer = (await client.post("/completion", json=body)).json()
    assert answer["generation_settings"]["lora"] == [{"id": 2, "scale": 1.0}]


async def test_a_file_that_is_given_twice_counts_twice(server: FakeServer) -> None:
    adapters = [server.engine.adapters[0]] * 2
    settings = ServeSettings(lora=(Path("a.gguf"), Path("a.gguf")))
    double = make_server(settings).context.adapter_scales
    assert double.lora_set(adapters, None) == ((A, 2.0),)


@pytest.mark.parametrize(
    ("lora", "param", "words"),
    [
        ({"id": 0, "scale": 1}, "lora", "must be a list"),
        ([{"id": 3, "scale": 1}], "lora.0.id", "there is no adapter 3, 3 are loaded"),
        ([{"id": -1, "scale": 1}], "lora.0.id", "must be at least 0"),
        ([{"id": "a", "scale": 1}], "lora.0.id", "must be a whole number"),
        ([{"id": 0}], "lora.0.scale", "is required"),
        ([{"id": 0, "scale": "1"}], "lora.0.scale", "must be a"),
        ([{"id": 0, "scale": 1e7}], "lora.0.scale", "must be at most"),
        ([{"id": 0, "scale": 1}, {"id": 0, "scale": 2}], "lora.1.id", "names adapter 0 again"),
    ],
)
async def test_a_wrong_list_is_refused_by_name(
    client: httpx.AsyncClient, lora: Any, param: str, words: str
) -> None:
    answer = await client.post("/completion", json={"prompt": "a", "lora": lora})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert words in error["message"]
    answer = await client.post("/lora-adapters", json=lora)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == (param.removeprefix("lora").removeprefix(".") or None)
    assert await scales(client) == [1, 1, 0.5]


async def test_only_an_admin_may_change_the_scales_of_all(server: FakeServer) -> None:
    async with client_of(server, key("user", is_admin=False), key("root")) as client:
        for name, status in (("user", 403), ("root", 200)):
            headers = {"X-Api-Key": name}
            answer = await client.post("/lora-adapters", json=[], headers=headers)
            assert answer.status_code == status
            assert (await client.get("/lora-adapters", headers=headers)).status_code == 200
