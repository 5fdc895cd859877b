"""The pool of a server with one model."""

from __future__ import annotations

import asyncio

import pytest

from config import ServeSettings
from server.errors import NotFound, NotSupported, Unavailable
from server.pool.interface import ModelState, PoolEvent, PoolEventKind
from server.pool.one import OneModel
from tests.support.fake_server import MODEL_NAME, FakeServer, make_server

pytestmark = pytest.mark.anyio


def one_of(server: FakeServer) -> OneModel:
    return OneModel(server.context)


@pytest.mark.parametrize(
    "name", [MODEL_NAME, f"{MODEL_NAME}:latest", "helper", "fake.gguf", "fake", "/models/fake.gguf"]
)
async def test_it_is_found_by_any_of_its_names(name: str) -> None:
    pool = one_of(make_server(ServeSettings(alias=("helper",), strict_model=True)))
    assert pool.find(name).name == MODEL_NAME
    async with pool.lease(name, "") as context:
        assert context.model_name == MODEL_NAME


async def test_another_name_is_answered_by_it_unless_it_is_strict() -> None:
    async with one_of(make_server()).lease("gpt-3.5-turbo", "") as context:
        assert context.model_name == MODEL_NAME
    strict = one_of(make_server(ServeSettings(strict_model=True)))
    with pytest.raises(NotFound, match=r"there is no model 'gpt-3.5-turbo' here"):
        async with strict.lease("gpt-3.5-turbo", ""):
            pass


async def test_it_tells_whether_it_is_loaded() -> None:
    server = make_server()
    pool = one_of(server)
    assert pool.models()[0].state is ModelState.LOADED
    server.engine.loaded = server.engine.is_ready = False
    assert pool.models()[0].state is ModelState.LOADING
    server.engine.outage = "the engine can't be started"
    (served,) = pool.models()
    assert (served.state, served.failure) == (ModelState.FAILED, "the engine can't be started")


async def test_a_lease_says_that_the_model_loads() -> None:
    server = make_server()
    server.engine.loaded = False
    with pytest.raises(Unavailable, match="Loading model"):
        async with one_of(server).lease(MODEL_NAME, ""):
            pass


async def test_it_is_never_unloaded() -> None:
    pool = one_of(make_server())
    await pool.load(MODEL_NAME)
    with pytest.raises(NotSupported):
        await pool.unload(MODEL_NAME)
    with pytest.raises(NotFound):
        await pool.unload("another")


async def test_listeners_hear_what_others_publish() -> None:
    pool = one_of(make_server())
    listener = pool.subscribe()
    task = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    pool.publish(PoolEvent(PoolEventKind.DOWNLOAD_FINISHED, "new"))
    assert (await task).model == "new"
