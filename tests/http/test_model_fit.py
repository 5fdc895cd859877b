"""`GET /models/fit`: what a model takes, asked over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from config import ServeSettings
from protocol.config import EngineConfig
from protocol.footprint import Footprint, FootprintAnswer, PartBytes
from server.access.key_ring import KeyRing
from server.app import create_app
from server.app_state import state_of
from server.catalog import model_fit
from server.catalog.model_fit import MOST_WAITING
from server.fit.errors import FitError
from tests.http.test_access import key
from tests.support.fake_server import MODEL_NAME, make_server

pytestmark = pytest.mark.anyio


class Planner:
    """Plans instead of llama.cpp."""

    def __init__(self) -> None:
        self.asked: list[EngineConfig] = []
        self.error = ""

    def __call__(self, path: Path, options: EngineConfig) -> Any:
        self.asked.append(options)
        if self.error:
            raise FitError(self.error)
        n_ctx = options.n_ctx or 2048 * options.n_slots
        planned = Footprint(
            host=PartBytes(weights=1000, kv=n_ctx),
            n_ctx=n_ctx,
            n_ctx_slot=n_ctx // options.n_slots,
            n_slots=options.n_slots,
            n_layers=2,
            n_ctx_train=2048,
            flash_attn="auto",
        )
        return planned, FootprintAnswer().devices


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    planner = Planner()
    monkeypatch.setattr(model_fit, "_plan", planner)
    return planner


def client_of(app: Starlette) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
def app() -> Starlette:
    return create_app(make_server(ServeSettings(ctx_size=512, parallel=2)).context)


async def test_a_model_is_planned_with_its_own_settings(app: Starlette, planner: Planner) -> None:
    async with client_of(app) as client:
        found = (await client.get("/models/fit", params={"model": MODEL_NAME})).json()
        unnamed = (await client.get("/models/fit")).json()
    assert unnamed["model"] == found["model"] == MODEL_NAME
    assert (found["slots"], found["ctx_size"], found["tokens_per_slot"]) == (2, 512, 256)
    assert (found["memory"]["host"], found["memory"]["device"]) == (1512, 0)
    assert (found["memory"]["parts"]["weights"], found["memory"]["parts"]["kv"]) == (1000, 512)
    assert found["fits"] == "beside"
    assert found["lacking"] == {"host": 0, "device": 0}
    assert found["total"]["host"] >= found["free"]["host"] > 0


async def test_another_context_can_be_asked_about(app: Starlette, planner: Planner) -> None:
    async with client_of(app) as client:
        query = {"model": MODEL_NAME, "ctx_size": "8192", "parallel": "4"}
        found = (await client.get("/models/fit", params=query)).json()
        trained = (await client.get("/models/fit", params={"ctx_size": "0"})).json()
    assert (found["slots"], found["tokens_per_slot"]) == (4, 2048)
    assert (trained["slots"], trained["tokens_per_slot"]) == (2, 2048)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"ctx_size": "-1"}, "ctx_size"),
        ({"ctx_size": "many"}, "ctx_size"),
        ({"ctx_size": "9" * 5000}, "ctx_size"),
        ({"ctx_size": "٣"}, "ctx_size"),
        ({"ctx_size": "1"}, "ctx_size"),
        ({"parallel": "0"}, "parallel"),
        ({"parallel": "5000"}, "parallel"),
    ],
)
async def test_wrong_numbers_are_named(
    app: Starlette, planner: Planner, query: dict[str, str], param: str
) -> None:
    async with client_of(app) as client:
        answer = await client.get("/models/fit", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert planner.asked == []


async def test_an_unknown_model_is_a_404(app: Starlette, planner: Planner) -> None:
    async with client_of(app) as client:
        assert (await client.get("/models/fit", params={"model": "no"})).status_code == 404


async def test_a_file_that_cannot_be_planned_is_named_without_its_folder(
    app: Starlette, planner: Planner
) -> None:
    folder = Path(state_of(app).pool.find(MODEL_NAME).path).parent
    planner.error = f"{folder}/m.gguf is no model"
    async with client_of(app) as client:
        answer = await client.get("/models/fit")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "m.gguf is no model"


async def test_named_keys_need_an_admins(planner: Planner) -> None:
    keys = KeyRing([key("root"), key("user", is_admin=False)])
    app = create_app(make_server().context, keys=keys)
    async with client_of(app) as client:
        codes = [
            (await client.get("/models/fit", headers={"X-Api-Key": name})).status_code
            for name in ("root", "user", "nobody")
        ]
    assert codes == [200, 403, 401]


async def test_only_so_many_may_wait(app: Starlette, planner: Planner) -> None:
    async with client_of(app) as client:
        asked = (client.get("/models/fit") for _ in range(MOST_WAITING + 4))
        answers = await asyncio.gather(*asked)
        later = await client.get("/models/fit")
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * (MOST_WAITING + 1) + [429] * 3
    assert later.status_code == 200
