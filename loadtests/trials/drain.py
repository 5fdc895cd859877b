"""SIGTERM under load: accepted requests get complete answers, and the exit status is 0.

Clients keep asking. Requests that come too late are refused, by 503 or by a refused connection.
"""

from __future__ import annotations

import argparse
import asyncio

from loadtests.harness.subject import api_process, serving
from loadtests.trials.crowd import Crowd, greedy

REFUSALS = ("HTTP 503", "ConnectionRefusedError", "ConnectionResetError")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options: how often, how many clients."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16, help="more than slots: some wait")
    parser.add_argument("--tokens", type=int, default=300, help="length of an answer")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load before the signal")


async def run(options: argparse.Namespace) -> list[str]:
    """Run the trial and return what went wrong."""
    problems: list[str] = []
    for number in range(options.rounds):
        problems += await _round(number, options)
    return problems


async def _round(number: int, options: argparse.Namespace) -> list[str]:
    problems: list[str] = []
    async with serving("--shutdown-timeout", "60") as server:
        crowd = Crowd(server.address, lambda client, turn: greedy(client, turn, options.tokens))
        clients = asyncio.create_task(crowd.run(options.clients))
        await asyncio.sleep(options.seconds)
        process = api_process(server)
        process.terminate()
        in_flight = options.clients
        await asyncio.sleep(0.5)
        crowd.is_over = True
        await clients
        status = await asyncio.to_thread(process.wait, 60)
    refused = {p for p, error in crowd.failures.items() if error.startswith(REFUSALS)}
    lost = {p: error for p, error in crowd.failures.items() if p not in refused}
    if any(crowd.records[place].arrivals for place in refused):
        problems.append(f"round {number}: an answer was cut")
    print(
        f"round {number}: {in_flight} in flight at the signal, {len(crowd.texts)} answered, "
        f"{len(refused)} refused afterwards, {len(lost)} lost, exit status {status}"
    )
    problems += [f"round {number}, {place}: {error}" for place, error in lost.items()]
    if status != 0:
        problems.append(f"round {number}: exit status {status}")
    return problems
