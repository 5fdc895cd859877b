"""The page over HTTP: who gets it, its files, what browsers may keep and what the page may do."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from config import ServeSettings
from server.app import create_app
from server.page.files import INDEX, STATIC, page_files
from server.page.serve import Page
from server.startup import StartupError
from tests.support.fake_server import key_ring, make_server

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "identity"}


@asynccontextmanager
async def client_of(
    settings: ServeSettings | None = None, *, has_key: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    server = make_server(settings)
    app = create_app(server.context, keys=key_ring("secret") if has_key else None)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def named(html: str) -> list[str]:
    """The files that the page loads at first."""
    return re.findall(r'(?:src|href)="\./([^"]+)"', html)


@pytest.mark.parametrize("prefix", ["", "/llm", "/a/b"])
async def test_browsers_get_the_page_and_its_files(prefix: str) -> None:
    async with client_of(ServeSettings(api_prefix=prefix)) as client:
        page = await client.get(f"{prefix}/", headers=BROWSER)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert '<div id="page">' in page.text
        files = named(page.text)
        assert len(files) > 3
        for name in files:
            assert (await client.get(f"{prefix}/{name}")).status_code == 200, name


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain, */*"])
async def test_programs_get_what_they_got_before(accept: str) -> None:
    async with client_of() as client:
        response = await client.get("/", headers={"Accept": accept})
        assert "<div" not in response.text
        assert "Accept" in response.headers["vary"]


async def test_every_file_has_its_type_and_lifetime() -> None:
    async with client_of() as client:
        for name, file in page_files().items():
            response = await client.get(f"/{'' if name == INDEX else name}", headers=BROWSER)
            assert response.content == (STATIC / name).read_bytes()
            assert response.headers["content-type"] == file.media_type
            forever = "public, max-age=31536000, immutable"
            is_hashed = name not in (INDEX, "assets/theme.js")
            assert response.headers["cache-control"] == (forever if is_hashed else "no-cache")
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_page_runs_only_its_own_scripts_and_loads_only_from_here() -> None:
    async with client_of() as client:
        page = await client.get("/", headers=BROWSER)
        policy = dict(
            part.strip().split(" ", 1)
            for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        for script in re.findall(r"<script[^>]*>(.*?)</script>", page.text, re.DOTALL):
            assert script == ""
        assert "http" not in page.text


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.0, gzip;q=0", ""),
        ("identity", ""),
        ("zstd", ""),
        ("", ""),
    ],
)
async def test_files_come_compressed(accepted: str, coding: str) -> None:
    async with client_of() as client:
        name = next(name for name in page_files() if name.endswith(".css"))
        request = client.build_request("GET", f"/{name}", headers={"Accept-Encoding": accepted})
        response = await client.send(request, stream=True)
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
        assert response.headers.get("content-encoding", "") == coding
        assert "Accept-Encoding" in response.headers["vary"]
        assert len(raw) == int(response.headers["content-length"])
        plain = (STATIC / name).read_bytes()
        if coding == "gzip":
            assert gzip.decompress(raw) == plain
        assert (len(raw) < len(plain)) == bool(coding)
        assert response.headers["etag"].endswith(f'{coding}"')


async def test_what_a_browser_has_is_not_sent_again() -> None:
    async with client_of() as client:
        first = await client.get("/", headers=BROWSER)
        etag = first.headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get("/", headers=BROWSER | {"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        other = await client.get("/", headers=BROWSER | {"If-None-Match": '"other"'})
        assert other.status_code == 200
        packed = await client.get("/", headers=BROWSER | {"Accept-Encoding": "gzip"})
        assert packed.headers["etag"] != etag


async def test_the_page_needs_no_key_and_the_api_still_does() -> None:
    async with client_of(has_key=True) as client:
        page = await client.get("/", headers=BROWSER)
        assert page.status_code == 200
        for name in named(page.text):
            assert (await client.get(f"/{name}")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/assets/none.js")).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/assets/none.js", "/assets/", "/assets", "/assets/../index.html", "/assets/%2e%2e/files.py"],
)
async def test_nothing_else_is_served(path: str) -> None:
    async with client_of() as client:
        response = await client.get(httpx.URL("http://test" + path))
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "not_found_error"


async def test_files_are_only_read() -> None:
    async with client_of() as client:
        response = await client.post("/assets/theme.js")
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, HEAD"
        head = await client.head("/assets/theme.js")
        assert head.status_code == 200


async def test_no_ui_turns_the_page_off() -> None:
    async with client_of(ServeSettings(ui=False)) as client:
        assert "<div" not in (await client.get("/", headers=BROWSER)).text
        assert (await client.get("/assets/theme.js")).status_code == 404
        assert (await client.get("/props")).json()["ui"] is False
    async with client_of() as client:
        assert (await client.get("/props")).json()["ui"] is True


async def test_the_operators_own_files_replace_the_page(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("own")
    async with client_of(ServeSettings(path=tmp_path)) as client:
        assert (await client.get("/", headers=BROWSER)).text == "own"
        assert (await client.get("/assets/theme.js")).status_code == 404
        assert (await client.get("/props")).json()["ui"] is False


def test_a_server_without_the_files_says_so_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="--no-ui"):
        Page("", page_files(tmp_path))
