"""Runs a plan: each client's steps in order, all clients at the same time."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Sequence

from loadtests.harness.client import Address, stream
from loadtests.harness.scenario import Client, Plan, Record, Request


class _FirstTokens:
    """For each role, the moment when all clients of the role have received a first token."""

    def __init__(self, plan: Plan) -> None:
        self._missing: dict[str, int] = {}
        for client in plan.clients:
            self._missing[client.role] = self._missing.get(client.role, 0) + 1
        self._reached = {role: asyncio.Event() for role in self._missing}

    async def wait(self, role: str) -> None:
        await self._reached[role].wait()

    def note(self, role: str) -> None:
        self._missing[role] -= 1
        if self._missing[role] == 0:
            self._reached[role].set()


async def run_plan(address: Address, plan: Plan, keys: Sequence[str] = ()) -> list[Record]:
    """Run the plan and return the records of all requests; a client stops at its first failed
    one. The clients use the API keys in turn."""
    firsts = _FirstTokens(plan)
    of_clients = itertools.cycle(keys or ("",))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_run(address, client, firsts, key))
            for client, key in zip(plan.clients, of_clients, strict=False)
        ]
    return [record for task in tasks for record in task.result()]


async def _run(address: Address, client: Client, firsts: _FirstTokens, key: str) -> list[Record]:
    if client.after is not None:
        await firsts.wait(client.after)
    records: list[Record] = []
    on_first: Callable[[], None] | None = functools.partial(firsts.note, client.role)
    for step in client.steps:
        request = step if isinstance(step, Request) else step(records)
        records.append(await stream(address, request, on_first, key=key))
        on_first = None
        if records[-1].error:
            break
    return records
