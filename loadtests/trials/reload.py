"""SIGHUP under load: the key file is rewritten again and again, and no stream breaks.

Each time, one key is added, another is removed, and the limits of the clients' key change.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

from loadtests.harness.client import get
from loadtests.harness.servers import Server
from loadtests.harness.subject import api_process, serving
from loadtests.trials.crowd import Crowd, greedy

FIRM = "firm-key"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how long, how often, how many clients."""
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two reloads")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="length of an answer")


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keys.toml"
        _write(path, 0)
        async with serving("--api-keys-toml", str(path)) as server:
            crowd = Crowd(
                server.address,
                lambda client, turn: greedy(client, turn, options.tokens),
                key=FIRM,
            )
            clients = asyncio.create_task(crowd.run(options.clients))
            reloads, problems = await _reload(server, path, options)
            crowd.is_over = True
            await clients
    print(f"{reloads} reloads, {len(crowd.records)} answers, {len(crowd.failures)} failed")
    return problems + [f"{place}: {error}" for place, error in crowd.failures.items()]


def _write(path: Path, version: int) -> None:
    """Write the clients' key with other limits, and one key that only this version has."""
    path.write_text(
        f'[keys.firm]\nkey = "{FIRM}"\nmax_concurrent = {64 + version}\n'
        f"requests_per_minute = {100000 + version}\n"
        f'[keys.guest]\nkey = "guest-{version}"\n'
    )


async def _reload(server: Server, path: Path, options: argparse.Namespace) -> tuple[int, list[str]]:
    """Reload until the time is over; return the number of reloads, and what was wrong with the
    keys."""
    problems: list[str] = []
    version, deadline = 0, time.monotonic() + options.seconds
    while time.monotonic() < deadline:
        version += 1
        _write(path, version)
        os.kill(api_process(server).pid, signal.SIGHUP)
        await asyncio.sleep(options.every)
        for key, wanted in ((f"guest-{version}", 200), (f"guest-{version - 1}", 401)):
            status, _ = await get(server.address, "/v1/models", key=key)
            if status != wanted:
                problems.append(f"{key} gets {status} instead of {wanted}")
    return version, problems
