"""What pages of other sites can make a browser do to a server without keys: nothing."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from config import ServeSettings
from server.access.key import ApiKey, digest_of
from server.access.key_ring import KeyRing
from server.app import create_app
from tests.support.fake_server import make_server
from tests.support.live import serving

pytestmark = pytest.mark.anyio

KEYS = KeyRing([ApiKey(name="alice", digest=digest_of(b"secret"))])
POSTS = ("/completion", "/v1/chat/completions", "/tokenize", "/lora-adapters", "/slots/0")
EVIL = "https://evil.example"
PROMPT = b'{"prompt": "a"}'


async def ask(
    method: str = "GET",
    path: str = "/props",
    *,
    headers: dict[str, str] | None = None,
    settings: ServeSettings | None = None,
    keys: KeyRing | None = None,
    is_local: bool = True,
    server_port: int = 8080,
    content: bytes = b"",
) -> httpx.Response:
    app = create_app(make_server(settings).context, keys=keys, is_local=is_local)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    url = f"http://127.0.0.1:{server_port}"
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        return await client.request(method, path, headers=headers, content=content)


@pytest.mark.parametrize("path", ["/", "/health", "/livez", "/props", "/slots", "/v1/models"])
@pytest.mark.parametrize("host", ["evil.example:8080", "127.0.0.1.evil.example", "rebind.test"])
async def test_a_name_that_was_made_to_lead_here_is_refused(path: str, host: str) -> None:
    response = await ask(path=path, headers={"Host": host})
    assert response.status_code == 403
    message = response.json()["error"]["message"]
    assert host.partition(":")[0] in message
    assert "--allowed-hosts" in message


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9", "ui.localhost"])
async def test_this_machines_names_are_answered(host: str) -> None:
    assert (await ask(headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("settings", "keys", "is_local", "status"),
    [
        (ServeSettings(), None, True, 403),
        (ServeSettings(), None, False, 200),
        (ServeSettings(), KEYS, True, 200),
        (ServeSettings(allowed_hosts=("other.example",)), None, False, 403),
        (ServeSettings(allowed_hosts=("other.example",)), KEYS, True, 403),
        (ServeSettings(allowed_hosts=("llm.example",)), None, True, 200),
        (ServeSettings(allowed_hosts=("*",)), None, True, 200),
        (ServeSettings(host=("llm.example",)), None, True, 200),
    ],
)
async def test_when_the_host_is_checked(
    settings: ServeSettings, keys: KeyRing | None, is_local: bool, status: int
) -> None:
    headers = {"Host": "llm.example:8080", "X-Api-Key": "secret"}
    response = await ask(headers=headers, settings=settings, keys=keys, is_local=is_local)
    assert response.status_code == status


async def test_a_unix_socket_takes_any_host(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    app = create_app(make_server().context, is_local=True)
    with serving(app, host=str(path)):
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport) as client:
            assert (await client.get("http://any.example/health")).status_code == 200


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://evil.example:8080", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_a_page_of_another_site_can_not_post(path: str, headers: dict[str, str]) -> None:
    body = b'{"prompt": "a", "messages": [{"role": "user", "content": "a"}]}'
    sent = headers | {"Content-Type": "text/plain"}
    response = await ask("POST", path, headers=sent, content=body)
    assert response.status_code == 403
    assert "--cors-origins" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://[::1]:5173"},
        {"Origin": "http://ui.localhost"},
        {"Origin": "app://obsidian.md"},
        {"Origin": "vscode-webview://abc"},
        {"Origin": "https://chat.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_own_pages_and_programs_can_post(headers: dict[str, str]) -> None:
    response = await ask("POST", "/completion", headers=headers, content=PROMPT)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("settings", "keys", "status"),
    [
        (ServeSettings(), None, 403),
        (ServeSettings(cors_origins=(EVIL,)), None, 200),
        (ServeSettings(cors_origins=("*",)), None, 200),
        (ServeSettings(), KEYS, 200),
    ],
)
async def test_which_servers_take_posts_of_pages(
    settings: ServeSettings, keys: KeyRing | None, status: int
) -> None:
    headers = {"Origin": EVIL, "X-Api-Key": "secret"}
    response = await ask(
        "POST",
        "/completion",
        headers=headers,
        settings=settings,
        keys=keys,
        content=PROMPT,
    )
    assert response.status_code == status


async def test_reading_is_left_to_the_browser() -> None:
    response = await ask(headers={"Origin": EVIL})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
