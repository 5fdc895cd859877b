"""A user beside a load, in a separate process.

In the same process as the load's clients, the user would also wait for these clients.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from loadtests.harness import loops
from loadtests.harness.client import Address, stream
from loadtests.harness.prompts import PromptSource
from loadtests.harness.scenario import Record, completion


@dataclass(frozen=True)
class Visit:
    """The requests of a user, sent one after the other with a pause before each."""

    address: Address
    prompts: PromptSource
    seed: tuple[object, ...]
    prompt_tokens: int
    answer_tokens: int
    pause_s: float
    key: str


@asynccontextmanager
async def visiting(visit: Visit) -> AsyncIterator[list[Record]]:
    """Run the user during the block; the records are in the list after the block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_live, args=(visit, theirs))
    process.start()
    theirs.close()
    records: list[Record] = []
    try:
        await asyncio.to_thread(ours.recv)  # the process is ready
        ours.send("begin")
        yield records
        ours.send("end")
        records += await asyncio.to_thread(ours.recv)
    finally:
        ours.close()
        process.terminate()
        process.join()


def _live(visit: Visit, connection: Connection) -> None:
    connection.send("ready")
    connection.recv()
    connection.send(loops.run(_requests(visit, connection)))


async def _requests(visit: Visit, connection: Connection) -> list[Record]:
    records: list[Record] = []
    while not connection.poll():
        await asyncio.sleep(visit.pause_s)
        prompt = visit.prompts.tokens(visit.prompt_tokens, *visit.seed, len(records))
        request = completion(prompt, visit.answer_tokens, role=visit.key)
        records.append(await stream(visit.address, request, key=visit.key))
    return records
