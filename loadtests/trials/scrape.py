"""The cost of a scrape of /metrics with 64 slots and some keys, compared with a probe of /livez.

The cost is measured idle and with all slots busy. The limit applies to the idle server, because a
busy server's scrape also waits for its turn on the event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from loadtests.harness.client import Address
from loadtests.harness.stats import percentile
from loadtests.harness.subject import metric, serving
from loadtests.trials import raw
from loadtests.trials.crowd import Crowd, greedy

SLOTS = 64
KEYS = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how often, and the allowed cost."""
    parser.add_argument("--scrapes", type=int, default=200)
    parser.add_argument("--milliseconds", type=float, default=5.0, help="most for a scrape")


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.toml"
        keys.write_text("\n".join(f'[keys.user{n}]\nkey = "key-{n}"' for n in range(KEYS)))
        flags = ("-np", str(SLOTS), "-c", str(SLOTS * 128), "--api-keys-toml", str(keys))
        async with serving(*flags) as server:
            for number in range(KEYS):  # so that each key has its own counters
                crowd = Crowd(server.address, lambda c, t: greedy(c, t, 4), key=f"key-{number}")
                await crowd.run(1, turns=1)
            probe = await _ask(server.address, "/livez", options.scrapes)
            idle = await _ask(server.address, "/metrics", options.scrapes)
            crowd = Crowd(server.address, lambda c, t: greedy(c, t, 100), key="key-0")
            clients = asyncio.create_task(crowd.run(SLOTS))
            await asyncio.sleep(2)
            running = await metric(server, "vllm:num_requests_running", key="key-0")
            busy = await _ask(server.address, "/metrics", options.scrapes)
            crowd.is_over = True
            await clients
    kinds = {"a probe": probe, "a scrape": idle, f"a scrape, {running:.0f} slots busy": busy}
    for name, times in kinds.items():
        median, late = percentile(times, 50), percentile(times, 99)
        print(f"{name}: median {1000 * median:.2f} ms, p99 {1000 * late:.2f} ms")
    cost = 1000 * (percentile(idle, 50) - percentile(probe, 50))
    print(f"a scrape costs {cost:.2f} ms more than a probe")
    return [f"a scrape costs {cost:.2f} ms"] if cost > options.milliseconds else []


async def _ask(address: Address, path: str, times: int) -> list[float]:
    """Seconds of each request, including the connection."""
    taken = []
    for _ in range(times):
        reply = await raw.send(address, "GET", path, headers=("X-Api-Key: key-0",))
        assert reply.status == 200, reply
        taken.append(reply.seconds)
        await asyncio.sleep(0.01)
    return taken
