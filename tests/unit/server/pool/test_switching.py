"""Many requests for more models than there is memory for, in virtual time.

The reference is clairvoyant: it knows the order of the requests, and loads a model only when every
client waits for it. It gives up the model with which it will need the fewest loads.
"""

from __future__ import annotations

import asyncio
import functools
import random
from dataclasses import dataclass, field

import pytest

from server.pool.policy import Limits
from tests.support.fake_engines import FakeEngines, entry, pool_of
from tests.support.virtual_time import run_virtually

NAMES = ("a", "b", "c")
BOUND = 120.0


@dataclass
class Run:
    """What came of the requests."""

    answered: int = 0
    waits: list[float] = field(default_factory=list)
    loads: int = 0
    most_running: int = 0
    seconds: float = 0.0


def order_of(seed: int, count: int = 200) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(NAMES) for _ in range(count)]


async def ask_all(order: list[str], clients: int, answer_seconds: float, maker: FakeEngines) -> Run:
    """Clients that take the next request of the order as soon as they have an answer."""
    loop, run, requests = asyncio.get_running_loop(), Run(), iter(order)
    pool = pool_of(
        [entry(name) for name in NAMES],
        maker,
        Limits(count=2, patience=BOUND / 2),
        wait_seconds=BOUND,
    )

    async def client() -> None:
        for name in requests:
            asked = loop.time()
            async with pool.lease(name, "") as context:
                assert context.model_name == name
                run.waits.append(loop.time() - asked)
                await asyncio.sleep(answer_seconds)
            run.answered += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    run.seconds = loop.time()
    await pool.close()
    run.loads, run.most_running = maker.num_loads, maker.most_running
    return run


def fewest_loads(order: list[str], clients: int) -> int:
    """The loads of the clairvoyant schedule, the first two included."""

    @functools.cache
    def from_here(position: int, missing: str) -> int:
        waiting = 0
        for index in range(position, len(order)):
            waiting += order[index] == missing
            if waiting == clients:
                others = [name for name in NAMES if name != missing]
                return 1 + min(from_here(index + 1, other) for other in others)
        return int(waiting > 0)

    return 2 + min(from_here(0, missing) for missing in NAMES)


@pytest.mark.parametrize("clients", [1, 4, 8, 16])
@pytest.mark.parametrize("answer_seconds", [0.05, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_loads_are_at_most_twice_what_a_clairvoyant_needs(
    clients: int, answer_seconds: float, seed: int
) -> None:
    order = order_of(seed)
    maker = FakeEngines(load_seconds=dict.fromkeys(NAMES, 2.0))
    run = run_virtually(ask_all(order, clients, answer_seconds, maker))
    assert run.answered == len(order)
    assert max(run.waits) < BOUND
    assert run.most_running <= 2
    assert run.loads <= 2 * fewest_loads(order, clients)
