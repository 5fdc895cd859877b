"""`POST /slots/{id}`: saving, restoring and erasing the content of a slot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import ServeSettings
from protocol.messages import SlotRefusal
from server.access import cache_owner
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from tests.support.fake_server import FakeServer, make_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path) -> FakeServer:
    return make_server(ServeSettings(slot_save_path=tmp_path))


async def act(client: httpx.AsyncClient, action: str, slot: object = 1, **body: Any) -> Any:
    return await client.post(f"/slots/{slot}", params={"action": action}, json=body)


async def test_save(client: httpx.AsyncClient, server: FakeServer, tmp_path: Path) -> None:
    response = await act(client, "save", filename="chat-1.bin")
    assert response.status_code == 200
    assert response.json() == {
        "id_slot": 1,
        "filename": "chat-1.bin",
        "n_saved": 12,
        "n_written": 3456,
        "timings": {"save_ms": 250.0},
    }
    assert server.engine.changed == [("save", 1, str(tmp_path / "chat-1.bin"))]


async def test_restore(client: httpx.AsyncClient, server: FakeServer, tmp_path: Path) -> None:
    response = await act(client, "restore", filename="chat 1")
    assert response.json() == {
        "id_slot": 1,
        "filename": "chat 1",
        "n_restored": 12,
        "n_read": 3456,
        "timings": {"restore_ms": 250.0},
    }
    assert server.engine.changed == [("restore", 1, str(tmp_path / "chat 1"))]


async def test_erase_needs_no_body(client: httpx.AsyncClient, server: FakeServer) -> None:
    response = await client.post("/slots/3?action=erase")
    assert response.json() == {"id_slot": 3, "n_erased": 12}
    assert server.engine.changed == [("erase", 3, "")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "/etc/passwd",
        "a\\b",
        ".hidden",
        "a\0b",
        "a\nb",
        "C:a",
        "\ud800",
        "x" * 201,
        "é" * 101,
        7,
        None,
        ["a"],
    ],
)
@pytest.mark.parametrize("action", ["save", "restore"])
async def test_only_plain_names_are_taken(
    client: httpx.AsyncClient, server: FakeServer, action: str, name: object
) -> None:
    body = {"filename": name}
    response = await client.post(f"/slots/0?action={action}", content=_json(body))
    assert response.status_code == 400
    if name != "\ud800":
        assert response.json()["error"]["param"] == "filename"
    assert server.engine.changed == []


async def test_a_name_is_needed(client: httpx.AsyncClient) -> None:
    response = await act(client, "save")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "'filename' is required"


@pytest.mark.parametrize("action", ["", "copy", "x" * 1000])
async def test_unknown_actions_are_refused(client: httpx.AsyncClient, action: str) -> None:
    error = (await act(client, action, filename="a")).json()["error"]
    assert (error["code"], error["param"]) == (400, "action")
    assert "save, restore, erase" in error["message"]
    assert len(error["message"]) < 200


@pytest.mark.parametrize("slot", ["-1", "x", "1e3", "9" * 30, "٣"])
async def test_what_is_no_number_is_no_slot(client: httpx.AsyncClient, slot: str) -> None:
    assert (await act(client, "erase", slot)).status_code == 404


@pytest.mark.parametrize(
    ("refusal", "status", "param"),
    [
        (SlotRefusal.NO_SUCH_SLOT, 404, None),
        (SlotRefusal.BUSY, 400, None),
        (SlotRefusal.BAD_FILE, 400, "filename"),
        (SlotRefusal.FAILED, 500, None),
    ],
)
async def test_what_the_engine_refuses(
    client: httpx.AsyncClient,
    server: FakeServer,
    refusal: SlotRefusal,
    status: int,
    param: str | None,
) -> None:
    server.engine.slot_refusal = refusal
    response = await act(client, "restore", filename="a")
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert error["message"] == "the engine says no"


async def test_only_admins_may(server: FakeServer) -> None:
    keys = [
        ApiKey(name=name, digest=digest_of(name.encode()), is_admin=name == "root")
        for name in ("alice", "root")
    ]
    app = create_app(server.context, keys=KeyRing(keys))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        for name, status in (("alice", 403), ("root", 200)):
            headers = {"X-Api-Key": name}
            response = await client.post("/slots/0?action=erase", headers=headers)
            assert response.status_code == status


@pytest.mark.parametrize(
    ("action", "body"),
    [("restore", {}), ("save", {"format": "llama.cpp"})],
)
async def test_the_engine_is_told_whose_prefix_a_file_may_hold(
    server: FakeServer, action: str, body: dict[str, str]
) -> None:
    keys = [
        ApiKey(name="a", digest=digest_of(b"a"), cache_owner=cache_owner.of_group("g")),
        ApiKey(name="b", digest=digest_of(b"b")),
        ApiKey(name="c", digest=digest_of(b"c"), cache_owner=cache_owner.EVERYBODY),
    ]
    transport = httpx.ASGITransport(create_app(server.context, keys=KeyRing(keys)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for key in keys:
            client.headers["X-Api-Key"] = key.name
            assert (await act(client, action, filename="f", **body)).status_code == 200
    assert server.engine.salts == [key.salt("") for key in keys]
    assert server.engine.salts[2] == ""


class TestWithoutTheFolder:
    @pytest.fixture
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(create_app(make_server().context))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client

    async def test_it_is_not_supported(self, client: httpx.AsyncClient) -> None:
        for action in ("save", "restore", "erase", "nonsense"):
            response = await act(client, action, filename="a")
            assert response.status_code == 501
            assert "--slot-save-path" in response.json()["error"]["message"]


def _json(body: dict[str, object]) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("format_", "action"),
    [(None, "save"), ("llamapack", "save"), ("llama.cpp", "export")],
)
async def test_the_format_of_a_saved_file(
    client: httpx.AsyncClient, server: FakeServer, format_: str | None, action: str
) -> None:
    response = await act(client, "save", filename="a", format=format_)
    assert response.status_code == 200
    assert [change[0] for change in server.engine.changed] == [action]
    refused = await act(client, "save", filename="a", format="zip")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "format")
