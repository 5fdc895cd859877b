"""Kills the engine again and again under streaming clients.

Every answer has to be complete and identical to the answer without kills.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

import psutil

from loadtests.harness.servers import Server
from loadtests.harness.subject import EXACT, engine_of, metric, serving
from loadtests.trials.crowd import Crowd, greedy, longest_gap


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how long, how often, how many clients."""
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=300, help="length of an answer")


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""

    def crowd(server: Server) -> Crowd:
        return Crowd(server.address, lambda client, turn: greedy(client, turn, options.tokens))

    async with serving(*EXACT) as server:
        disturbed = crowd(server)
        clients = asyncio.create_task(disturbed.run(options.clients))
        kills = await _kill(server, options.seconds, options.every)
        disturbed.is_over = True
        await clients
        restarts = await metric(server, "llamapack_engine_restarts_total")
    turns = 1 + max(turn for _, turn in disturbed.records)
    async with serving(*EXACT) as server:
        undisturbed = crowd(server)
        await undisturbed.run(options.clients, turns)
    records = list(disturbed.records.values())
    different = [
        place for place, text in disturbed.texts.items() if undisturbed.texts.get(place) != text
    ]
    print(
        f"{kills} kills, {restarts:.0f} restarts, {len(records)} answers of {options.tokens} tokens"
    )
    print(f"{len(disturbed.failures)} failed, {len(different)} differ from an undisturbed run")
    print(f"the longest wait for a token: {longest_gap(records):.2f} s")
    problems = [f"{place}: {error}" for place, error in disturbed.failures.items()]
    problems += [f"undisturbed {place}: {error}" for place, error in undisturbed.failures.items()]
    problems += [f"{place}: another text" for place in different]
    if kills < options.seconds / options.every / 2:
        problems.append(f"only {kills} kills: no engine was there to be killed")
    return problems


async def _kill(server: Server, seconds: float, every: float) -> int:
    """Kill the engine every `every` seconds; return the number of kills."""
    kills, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        await asyncio.sleep(every)
        engine = engine_of(server)
        if engine is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                engine.kill()
                kills += 1
    return kills
