"""A subscriber of KV events, written from vLLM's documentation, knows what the cache holds."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.harness.ports import free_port
from loadtests.routing.subscriber import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    KVCacheEvent,
    Subscriber,
)
from tests.support.paths import DEMO_TARGET
from tests.support.processes import DEADLINE, Server, serving, wait_until

BLOCK = 16
MEMORY = ("--cache-ram", "4", "-c", "1024")
"""Little, so that much comes and goes."""


@contextmanager
def followed(*flags: str) -> Iterator[tuple[Server, Subscriber]]:
    """A server that publishes its events, and a subscriber."""
    endpoint, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    events = ("--kv-events-endpoint", endpoint, "--kv-events-replay-endpoint", replay)
    with serving(*events, "--kv-events-block-size", str(BLOCK), *flags) as server:
        subscriber = Subscriber(endpoint, replay)
        subscriber.catch_up()
        try:
            yield server, subscriber
        finally:
            subscriber.close()


def own_blocks(server: Server, subscriber: Subscriber, model: str = "") -> dict[str, set[int]]:
    """The server's own blocks, once the subscriber has heard of them."""
    query = f"?model={model}" if model else ""
    report = httpx.get(f"{server.url}/kv_events/blocks{query}", timeout=DEADLINE).json()

    def is_up_to_date() -> bool:
        subscriber.drain()
        return subscriber.last >= int(report["sequence"])

    wait_until(is_up_to_date)
    return {medium: {int(name, 16) for name in names} for medium, names in report["blocks"].items()}


def check_equal(server: Server, subscriber: Subscriber) -> dict[str, set[int]]:
    """Check that the subscriber has exactly the server's own blocks, which are returned."""
    own = own_blocks(server, subscriber)
    known = {medium: subscriber.held.get(medium, set()) for medium in own}
    assert known == own
    return own


def held_after(subscriber: Subscriber) -> dict[str, set[int]]:
    """What the subscriber knows of, once it has taken in all that has come."""
    subscriber.drain()
    return subscriber.held


def random_load(server: Server, count: int, seed: int, model: str = "") -> list[int]:
    """The status codes of requests that share beginnings, have salts, end early or are long."""
    dice = random.Random(seed)
    words = ["the", "a", "river", "stone", "of", "and", "bread", "light", "to", "in", "was", "one"]
    texts = [" ".join(dice.choices(words, k=dice.choice([5, 30, 60]))) for _ in range(12)]

    def body() -> dict[str, Any]:
        end = " ".join(dice.choices(words, k=dice.randint(1, 25)))
        return {
            "prompt": f"{dice.choice(texts)} {end}",
            "n_predict": dice.choice([0, 1, 4, 12]),
            "cache_salt": dice.choice(["", "", "", "mine"]),
            "cache_prompt": dice.random() > 0.05,
            "id_slot": dice.choice([-1, -1, -1, 1]),
            "temperature": 0,
            "ignore_eos": True,
            **({"model": model} if model else {}),
        }

    bodies = [body() for _ in range(count)]
    with (
        ThreadPoolExecutor(6) as pool,
        httpx.Client(base_url=server.url, timeout=DEADLINE) as client,
    ):
        return list(pool.map(lambda one: client.post("/completion", json=one).status_code, bodies))


@pytest.mark.parametrize(("layout", "count"), [("--no-kv-unified", 500), ("--kv-unified", 100)])
def test_a_subscriber_follows_a_load_and_a_crash_and_knows_every_block(
    layout: str, count: int
) -> None:
    with followed(*MEMORY, layout) as (server, subscriber):
        assert set(random_load(server, count, seed=1)) == {200}
        held = check_equal(server, subscriber)
        assert held["GPU"]
        assert held["CPU"]
        server.kill_engine()
        wait_until(server.is_ready)
        assert check_equal(server, subscriber) == {"GPU": set(), "CPU": set()}
        assert set(random_load(server, count, seed=2)) == {200}
        assert all(check_equal(server, subscriber).values())
        assert subscriber.topic == f"kv@{server.url.removeprefix('http://')}@demo-target"


def test_an_engine_that_dies_under_load_leaves_no_blocks_behind() -> None:
    with followed(*MEMORY) as (server, subscriber), ThreadPoolExecutor(1) as pool:
        load = pool.submit(random_load, server, 100, 3)
        wait_until(lambda: held_after(subscriber).get("CPU"))
        server.kill_engine()
        assert set(load.result(DEADLINE)) == {200}
        check_equal(server, subscriber)


def test_who_comes_late_asks_for_all_and_who_asks_in_vain_hears_the_end() -> None:
    with followed(*MEMORY) as (server, early):
        random_load(server, 20, seed=4)
        check_equal(server, early)
        late = Subscriber(early.endpoint, early.replay_endpoint)
        late.catch_up()
        assert late.held == early.held
        late.catch_up()  # nothing is new
        assert late.last == early.last
        late.close()


# --- several models ---

PRESET = """version = 1
[*]
no-measure-costs = true
cache-ram = 4
ctx-size = 1024
[one]
model = {0}/one.gguf
[two]
model = {0}/two.gguf
[three]
model = {0}/three.gguf
"""


class Indexer:
    """A router that finds blocks by name, and clears all of a server at once: as llm-d does."""

    def __init__(self) -> None:
        self.held: dict[str, set[int]] = {"GPU": set(), "CPU": set()}

    def take(self, event: KVCacheEvent) -> None:
        match event:
            case BlockStored():
                self.held[event.medium or "GPU"].update(event.block_hashes)
            case BlockRemoved():
                self.held[event.medium or "GPU"].difference_update(event.block_hashes)
            case AllBlocksCleared():
                for names in self.held.values():
                    names.clear()


class Followed:
    """A server with several models, a subscriber, and a router in llm-d's way."""

    def __init__(self, server: Server, subscriber: Subscriber, indexer: Indexer) -> None:
        self.server, self.subscriber, self.indexer = server, subscriber, indexer

    def topic(self, model: str) -> str:
        return f"kv@{self.server.url.removeprefix('http://')}@{model}"

    def check_equal(self, *loaded: str) -> None:
        """Check that the subscriber has what the loaded models have, and nothing of others."""
        own = {name: own_blocks(self.server, self.subscriber, name) for name in NAMES}
        assert {name for name, held in own.items() if any(held.values())} == set(loaded)
        for name, held in own.items():
            known = self.subscriber.by_topic.get(self.topic(name), {})
            assert {medium: known.get(medium, set()) for medium in held} == held, name
        for medium, names in self.indexer.held.items():
            assert names == set[int]().union(*(held[medium] for held in own.values()))

    def load(self, model: str, seed: int, count: int = 40) -> None:
        assert set(random_load(self.server, count, seed, model)) == {200}

    def status(self, model: str) -> str:
        data = httpx.get(f"{self.server.url}/models", timeout=DEADLINE).json()["data"]
        return next(str(one["status"]["value"]) for one in data if one["id"] == model)


NAMES = ("one", "two", "three")


@contextmanager
def several(folder: Path, *flags: str) -> Iterator[Followed]:
    for name in NAMES:
        shutil.copy(DEMO_TARGET, folder / f"{name}.gguf")
    preset = folder / "models.ini"
    preset.write_text(PRESET.format(folder))
    endpoint, replay = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    events = ("--kv-events-endpoint", endpoint, "--kv-events-replay-endpoint", replay)
    size = ("--kv-events-block-size", str(BLOCK))
    flags = ("--models-preset", str(preset), *events, *size, *flags)
    with serving(*flags, has_one_model=False) as server:
        indexer = Indexer()
        subscriber = Subscriber(endpoint, replay, indexer.take, has_topics=True)
        subscriber.catch_up()
        try:
            yield Followed(server, subscriber, indexer)
        finally:
            subscriber.close()


def test_models_come_go_and_crash_and_a_subscriber_knows_the_blocks_of_each(
    tmp_path: Path,
) -> None:
    with several(tmp_path, "--models-max", "2") as followed:
        server = followed.server
        followed.check_equal()
        followed.load("one", seed=1)
        followed.load("two", seed=1)  # the same prompts: blocks of equal tokens
        followed.check_equal("one", "two")
        followed.load("three", seed=2)  # evicts the first
        followed.check_equal("two", "three")
        followed.load("one", seed=3)
        followed.check_equal("one", "three")
        httpx.post(f"{server.url}/models/unload", json={"model": "one"}, timeout=DEADLINE)
        wait_until(lambda: followed.status("one") == "unloaded")
        followed.check_equal("three")
        followed.load("one", seed=3)
        server.kill_engine()
        wait_until(server.is_ready)
        followed.load("one", seed=4)
        followed.load("three", seed=4)
        followed.check_equal("one", "three")
        late = Subscriber(
            followed.subscriber.endpoint, followed.subscriber.replay_endpoint, has_topics=True
        )
        late.catch_up()
        assert late.by_topic == followed.subscriber.by_topic
        late.close()


def fall_asleep(server: Server, model: str = "") -> None:
    body = {"model": model, "prompt": "a", "n_predict": 1, "keep_alive": 0}
    assert httpx.post(f"{server.url}/completion", json=body, timeout=DEADLINE).status_code == 200


def test_a_model_that_sleeps_has_no_blocks_and_tells_new_ones_when_it_wakes(
    tmp_path: Path,
) -> None:
    with several(tmp_path) as followed:
        followed.load("one", seed=1)
        followed.load("two", seed=1)
        followed.check_equal("one", "two")
        fall_asleep(followed.server, "one")
        wait_until(lambda: followed.status("one") == "sleeping")
        followed.check_equal("two")
        followed.load("one", seed=2)
        followed.check_equal("one", "two")


def test_a_single_model_that_sleeps_publishes_as_one_that_stays() -> None:
    with followed(*MEMORY, "--sleep-idle-seconds", "600") as (server, subscriber):
        random_load(server, 40, seed=1)
        assert check_equal(server, subscriber)["GPU"]
        fall_asleep(server)

        def sleeps() -> bool:
            return bool(
                httpx.get(f"{server.url}/is_sleeping", timeout=DEADLINE).json()["is_sleeping"]
            )

        wait_until(sleeps)
        assert check_equal(server, subscriber) == {"GPU": set(), "CPU": set()}
        random_load(server, 40, seed=2)
        assert check_equal(server, subscriber)["GPU"]
        assert subscriber.topic == f"kv@{server.url.removeprefix('http://')}@demo-target"
