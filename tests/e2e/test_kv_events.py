"""A subscriber of KV events, written from vLLM's documentation, knows what the cache holds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from loadtests.harness.servers import free_port
from loadtests.routing.subscriber import Subscriber
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


def check_equal(server: Server, subscriber: Subscriber) -> dict[str, set[int]]:
    """Check that the subscriber has exactly the server's own blocks, which are returned."""
    report = httpx.get(f"{server.url}/kv_events/blocks", timeout=DEADLINE).json()

    def is_up_to_date() -> bool:
        subscriber.drain()
        return subscriber.last >= int(report["sequence"])

    wait_until(is_up_to_date)
    own = {medium: {int(name, 16) for name in names} for medium, names in report["blocks"].items()}
    known = {medium: subscriber.held.get(medium, set()) for medium in own}
    assert known == own
    return own


def held_after(subscriber: Subscriber) -> dict[str, set[int]]:
    """What the subscriber knows of, once it has taken in all that has come."""
    subscriber.drain()
    return subscriber.held


def random_load(server: Server, count: int, seed: int) -> list[int]:
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
