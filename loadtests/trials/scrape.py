"""What a scrape of /metrics costs with 64 slots, many keys, and both idle and busy."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from loadtests.client import Address
from loadtests.trials import raw
from loadtests.trials.crowd import Crowd, greedy
from loadtests.trials.subject import metric, percentile, serving

SLOTS = 64
KEYS = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """How often, and how much is allowed."""
    parser.add_argument("--scrapes", type=int, default=200)
    parser.add_argument("--milliseconds", type=float, default=5.0, help="most CPU time of a scrape")


async def run(options: argparse.Namespace) -> list[str]:
    """What went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.toml"
        keys.write_text("\n".join(f'[keys.user{n}]\nkey = "key-{n}"' for n in range(KEYS)))
        flags = ("-np", str(SLOTS), "-c", str(SLOTS * 128), "--api-keys-toml", str(keys))
        async with serving(*flags) as server:
            for number in range(KEYS):  # so that each has its own counters
                crowd = Crowd(server.address, lambda c, t: greedy(c, t, 4), key=f"key-{number}")
                await crowd.run(1, turns=1)
            idle = await _scrape(server.address, options.scrapes)
            crowd = Crowd(server.address, lambda c, t: greedy(c, t, 100), key="key-0")
            clients = asyncio.create_task(crowd.run(SLOTS))
            await asyncio.sleep(2)
            running = await metric(server, "vllm:num_requests_running", key="key-0")
            busy = await _scrape(server.address, options.scrapes)
            crowd.is_over = True
            await clients
    for name, times in (("idle", idle), (f"{running:.0f} slots busy", busy)):
        median, late = percentile(times, 0.5), percentile(times, 0.99)
        print(f"{name}: median {1000 * median:.2f} ms, p99 {1000 * late:.2f} ms a scrape")
    median = 1000 * percentile(idle, 0.5)
    return [f"a scrape takes {median:.2f} ms"] if median > options.milliseconds else []


async def _scrape(address: Address, times: int) -> list[float]:
    """Seconds of each scrape, the connection included."""
    taken = []
    for _ in range(times):
        reply = await raw.send(address, "GET", "/metrics", headers=("X-Api-Key: key-0",))
        assert reply.status == 200, reply
        taken.append(reply.seconds)
        await asyncio.sleep(0.01)
    return taken
