"""The server under test: starts it, and finds its engine."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil

from loadtests.harness.client import get
from loadtests.harness.servers import Server, Side, running

COMMAND = (str(Path(sys.executable).with_name("llamapack")), "serve")
MODEL = str(Path(__file__).parents[2] / "models" / "demo" / "demo-target.gguf")

EXACT = ("--no-repack", "-t", "1", "-fa", "on", "-ub", "32")
"""Flags for kernels that compute a row alike with any other rows, so texts can be compared.

Without flash attention, or with 64 rows of a sequence at once, a prompt's attention adds up in
another order than a decode's. Then a text that is computed again may differ at a near tie.
"""


FILLS = (
    "--override-kv",
    ",".join(
        f"tokenizer.ggml.fim_{part}_token_id=int:{token}"
        for part, token in (("pre", 9), ("suf", 10), ("mid", 11))
    ),
)
"""Flags that let the demo model fill in the middle, with tokens that mean something else to it."""


@asynccontextmanager
async def serving(*flags: str, wrapper: Sequence[str] = ()) -> AsyncIterator[Server]:
    """A ready server of the demo model, with metrics; later flags override earlier ones.

    `wrapper` is a command that runs the server's command, such as `env NAME=value`.
    """
    usual = ("-m", MODEL, "--metrics", "-np", "8", "-c", "8192", "-lv", "2")
    command = (*wrapper, *COMMAND)
    with running(Side("llamapack", command), (*usual, *flags)) as server:
        await server.wait_ready()
        yield server


def api_process(server: Server) -> psutil.Process:
    """The API process."""
    return server.processes()[0]


def engine_of(server: Server) -> psutil.Process | None:
    """The engine's process, or None while no engine lives."""
    for process in api_process(server).children():
        try:
            if "scheduler" in process.cmdline():
                return process
        except psutil.Error:
            continue
    return None


async def metric(server: Server, name: str, key: str = "") -> float:
    """The sum of a metric's values over its labels."""
    status, body = await get(server.address, "/metrics", key=key)
    assert status == 200, f"/metrics answers {status}"
    starts = (f"{name}{{", f"{name} ")
    lines = [line for line in body.decode().splitlines() if line.startswith(starts)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def busy_slots(server: Server, key: str = "") -> int:
    """The number of slots that are busy."""
    _, body = await get(server.address, "/slots", key=key)
    return sum(slot["is_processing"] for slot in msgspec.json.decode(body))
