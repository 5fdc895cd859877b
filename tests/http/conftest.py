"""A client for the application on fakes, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from server.app import create_app
from tests.support.fake_server import FakeServer, make_server


@pytest.fixture
def server() -> FakeServer:
    return make_server()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(server.context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
