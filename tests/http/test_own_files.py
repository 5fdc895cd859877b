"""`--path`: the operator's own files beside the API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from tests.support.fake_server import key_ring, make_server

pytestmark = pytest.mark.anyio


def client_of(folder: Path, prefix: str = "", *, has_key: bool = False) -> httpx.AsyncClient:
    server = make_server(ServeSettings(path=folder, api_prefix=prefix))
    app = create_app(server.context, keys=key_ring("secret") if has_key else None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "index.html").write_text("<h1>hello</h1>")
    (tmp_path / "own" / "a b.txt").write_text("text")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path / "own"


@pytest.mark.parametrize("prefix", ["", "/llm"])
async def test_files_are_served_where_the_api_has_no_path(folder: Path, prefix: str) -> None:
    async with client_of(folder, prefix) as client:
        assert (await client.get(f"{prefix}/")).text == "<h1>hello</h1>"
        assert (await client.get(f"{prefix}/a%20b.txt")).text == "text"
        assert (await client.get(f"{prefix}/health")).json() == {"status": "ok"}
        assert (await client.get(f"{prefix}/none.txt")).json()["error"]["code"] == 404


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"])
async def test_files_outside_of_the_folder_are_not_served(folder: Path, path: str) -> None:
    async with client_of(folder) as client:
        assert (await client.get(httpx.URL("http://test" + path))).status_code == 404


async def test_wrong_methods_on_the_api_stay_405(folder: Path) -> None:
    async with client_of(folder) as client:
        assert (await client.get("/completion")).status_code == 405
        assert (await client.post("/a%20b.txt")).status_code == 405


async def test_files_need_a_key_where_the_api_does(folder: Path) -> None:
    async with client_of(folder, has_key=True) as client:
        assert (await client.get("/a%20b.txt")).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        assert (await client.get("/a%20b.txt", headers=headers)).text == "text"
