"""The authentication middleware, without an application behind it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from config import ServeSettings
from server.access.access_record import access_record
from server.access.authenticate import Authenticate
from server.access.key_ring import KeyRing, read_keys
from server.errors import Unauthenticated

pytestmark = pytest.mark.anyio


def ring(*keys: str) -> KeyRing:
    return KeyRing(read_keys(ServeSettings(api_key=keys)))


async def name_of(keys: KeyRing, *headers: tuple[bytes, bytes], path: str = "/") -> str | None:
    """The name of the key with which a request came in."""
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async def unused(*_: Any) -> Any:
        raise AssertionError

    await Authenticate(app, keys=keys, public_paths=("/health",))(scope, unused, unused)
    key = access_record(scope).key
    return None if key is None else key.name


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer secret"),
        (b"authorization", b"BEARER  secret "),
        (b"x-api-key", b"secret"),
    ],
)
async def test_a_key_lets_in(header: tuple[bytes, bytes]) -> None:
    assert await name_of(ring("other", "secret"), header) == "api-key-2"


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer secre"),
        (b"authorization", b"Bearer"),
        (b"authorization", b"Basic secret"),
        (b"x-api-key", b"\xff"),
        (b"other", b"secret"),
    ],
)
async def test_without_a_key_nobody_gets_in(header: tuple[bytes, bytes]) -> None:
    keys = ring("secret")
    with pytest.raises(Unauthenticated):
        await name_of(keys, header)
    assert await name_of(keys, header, path="/health") is None


async def test_without_keys_all_get_in() -> None:
    assert await name_of(ring()) is None


async def test_a_key_may_have_any_letters() -> None:
    header = (b"x-api-key", "schlüssel".encode())
    assert await name_of(ring("schlüssel"), header) == "api-key-1"
