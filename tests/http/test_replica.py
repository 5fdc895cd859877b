"""What routers ask of a replica: its adapters, its load, its sleep, its cache, its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import ServeSettings
from protocol.blocks import BlocksStored, Medium
from protocol.cache_lookup import CacheTier
from server.app import create_app
from server.app_state import keep_state, state_of
from server.kv_events.events import KvEvents, ModelBlocks
from server.kv_events.wire import BlockStored, TopicEvents, WireEvent
from server.pool.interface import ModelState, ServedModel
from server.pool.one import OneModel
from tests.http.test_access import client_of, key
from tests.support.fake_server import MODEL_NAME, FakeServer, make_server

pytestmark = pytest.mark.anyio

SETTINGS = ServeSettings(
    metrics=True,
    lora=("/models/poet.gguf", "/other/poet.gguf"),  # type: ignore[arg-type]
    lora_scaled=("/models/cook.gguf:0.5",),  # type: ignore[arg-type]
    lora_init_without_apply=True,
)


@pytest.fixture
def server() -> FakeServer:
    return make_server(SETTINGS)


# --- adapters ---


async def test_adapters_are_listed_with_their_parent(client: httpx.AsyncClient) -> None:
    page = (await client.get("/v1/models")).json()
    listed = {model["id"]: model["parent"] for model in page["data"]}
    adapters = dict.fromkeys(["poet", "poet-2", "cook"], MODEL_NAME)
    assert listed == {MODEL_NAME: None, **adapters}
    assert (page["first_id"], page["last_id"]) == (MODEL_NAME, "cook")
    one = (await client.get("/v1/models/poet-2")).json()
    assert (one["id"], one["parent"], one["root"]) == ("poet-2", MODEL_NAME, "poet-2")


@pytest.mark.parametrize(
    ("model", "lora"),
    [
        ("poet", (("of poet.gguf", 1.0),)),
        ("cook", (("of cook.gguf", 0.5),)),
        (MODEL_NAME, ()),
        ("gpt-4o", ()),
        (None, ()),
    ],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/completion", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
    ],
)
async def test_model_chooses_an_adapter(
    client: httpx.AsyncClient,
    server: FakeServer,
    path: str,
    body: dict[str, object],
    model: str | None,
    lora: object,
) -> None:
    response = await client.post(path, json={"model": model, **body})
    assert response.status_code == 200
    assert server.generator.opened[-1].spec.lora == lora


async def test_scales_in_a_request_count_more_than_the_name(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    lora = [{"id": 2, "scale": 0.25}]
    await client.post("/completion", json={"prompt": "Hi", "model": "poet", "lora": lora})
    assert server.generator.opened[-1].spec.lora == (("of cook.gguf", 0.25),)


async def test_a_strict_server_knows_its_adapters_names() -> None:
    server = make_server(SETTINGS.model_copy(update={"strict_model": True}))
    async with client_of(server) as client:
        for model, status in (("poet", 200), ("poet-3", 404)):
            body = {"model": model, "prompt": "Hi"}
            assert (await client.post("/v1/completions", json=body)).status_code == status


async def test_a_model_s_own_name_is_no_adapter_s() -> None:
    settings = ServeSettings(lora=(f"/a/{MODEL_NAME}.gguf",))  # type: ignore[arg-type]
    server = make_server(settings)
    async with client_of(server) as client:
        page = (await client.get("/v1/models")).json()
        assert [model["id"] for model in page["data"]] == [MODEL_NAME]


# --- load and sleep ---


async def test_the_load_is_what_runs_and_waits(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    assert (await client.get("/load")).json() == {"server_load": 0}
    server.engine.num_sequences = 7
    assert (await client.get("/load")).json() == {"server_load": 7}


class Sleeper(OneModel):
    """A pool whose models have these states."""

    states: tuple[ModelState, ...] = ()

    def models(self) -> list[ServedModel]:
        (model,) = super().models()
        return [replace(model, state=state) for state in self.states]


@pytest.mark.parametrize(
    ("states", "sleeps"),
    [
        ((ModelState.LOADED,), False),
        ((ModelState.SLEEPING,), True),
        ((ModelState.SLEEPING, ModelState.SLEEPING), True),
        ((ModelState.SLEEPING, ModelState.LOADED), False),
        ((ModelState.LOADING,), False),
        ((), False),
    ],
)
async def test_a_replica_sleeps_if_all_its_models_do(
    server: FakeServer, states: tuple[ModelState, ...], sleeps: bool
) -> None:
    app = create_app(server.context)
    pool = Sleeper(server.context)
    pool.states = states
    keep_state(app, replace(state_of(app), pool=pool))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/is_sleeping")).json() == {"is_sleeping": sleeps}


# --- blocks ---


class Heard:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[WireEvent] = []
        self.sequence = 41

    def start(self) -> None:
        pass

    def publish(self, make: Callable[[], Iterable[TopicEvents]]) -> None:
        self.events += [event for told in make() for event in told.events]

    def close(self) -> None:
        pass


def watched(server: FakeServer, heard: Heard) -> tuple[FakeServer, ModelBlocks]:
    """The server with events about blocks."""
    scales, engine = server.context.adapter_scales, server.engine
    events = KvEvents(64)
    events.publisher = heard
    blocks = events.of_model("m", lambda lora: scales.name_of(engine.adapters, lora))
    scales.on_change = blocks.adapters_changed
    return replace(server, context=replace(server.context, kv_events=events)), blocks


async def test_blocks_are_listed_with_the_number_of_the_batch_that_told_them(
    server: FakeServer,
) -> None:
    async with client_of(watched(server, Heard())[0]) as client:
        assert (await client.get("/kv_events/blocks")).json() == {
            "block_size": 64,
            "sequence": 41,
            "blocks": {"GPU": ["ffffffffffffffff", "0000000000000005"], "CPU": []},
        }


async def test_without_events_blocks_are_not_listed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/kv_events/blocks")).status_code == 501


async def test_only_an_admin_lists_blocks(server: FakeServer) -> None:
    keys = [key("a", is_admin=False), key("b")]
    async with client_of(watched(server, Heard())[0], *keys) as client:
        for name, status in (("a", 403), ("b", 200)):
            headers = {"X-Api-Key": name}
            assert (await client.get("/kv_events/blocks", headers=headers)).status_code == status


async def test_new_default_scales_give_blocks_other_names(server: FakeServer) -> None:
    heard = Heard()
    poet = (("of poet.gguf", 1.0),)
    followed, events = watched(server, heard)
    async with client_of(followed) as client:
        events.changed([BlocksStored(Medium.GPU, [5], None, [1] * 64, "", poet)])
        await client.post("/lora-adapters", json=[{"id": 0, "scale": 1.0}])
    names = [event.lora_name for event in heard.events if isinstance(event, BlockStored)]
    assert names == ["poet", None]


# --- metrics ---


async def families(client: httpx.AsyncClient) -> dict[str, list[tuple[dict[str, str], float]]]:
    page = (await client.get("/metrics")).text
    return {
        family.name: [(sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(page)
    }


async def test_metrics_tell_the_cache_in_blocks(client: httpx.AsyncClient) -> None:
    ((labels, value),) = (await families(client))["vllm:cache_config_info"]
    assert value == 1
    assert labels["block_size"] == "64"
    assert labels["num_gpu_blocks"] == "8"  # 4 slots of 128 tokens
    assert int(labels["num_cpu_blocks"]) > 0


async def test_metrics_tell_which_adapters_run(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    await client.post("/completion", json={"prompt": "Hi", "model": "poet"})
    server.engine.known_specs = {100: server.generator.opened[-1].spec}
    ((labels, value),) = (await families(client))["vllm:lora_requests_info"]
    assert labels["running_lora_adapters"] == "poet"
    assert labels["waiting_lora_adapters"] == ""
    assert labels["max_lora"] == "3"
    assert abs(value - time.time()) < 3600


async def test_without_adapters_no_metric_speaks_of_them() -> None:
    async with client_of(make_server(ServeSettings(metrics=True))) as client:
        assert "vllm:lora_requests_info" not in await families(client)


async def test_older_names_have_the_values_of_the_newer_ones(
    client: httpx.AsyncClient, server: FakeServer
) -> None:
    server.context.metrics.looked_up_tokens = 40
    server.context.metrics.saved_tokens[CacheTier.SLOT] = 10
    found = await families(client)
    assert found["vllm:gpu_prefix_cache_queries"][0][1] == 40
    assert found["vllm:gpu_prefix_cache_hits"][0][1] == 10
    assert found["vllm:gpu_prefix_cache_hit_rate"][0][1] == 0.25
    assert found["vllm:gpu_cache_usage_perc"] == found["vllm:kv_cache_usage_perc"]
