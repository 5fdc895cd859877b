"""llama-server's CPU time per streamed token, with a tiny model.

Its engine can't be replaced by a script, so the figure includes the model's work. The same answers
in one piece tell how much that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from loadtests.harness.client import stream
from loadtests.harness.servers import Server, ServerError, Side, running
from loadtests.reception import cores
from loadtests.reception.reading import Trial
from loadtests.reception.streams import request

TOKENS = 200
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class PeerCost:
    """CPU milliseconds per token of all its threads, by the way in which the answers were sent."""

    kind: str
    streamed: float
    whole: float

    def line(self) -> str:
        """The figures in words."""
        return (
            f"{self.kind}: {self.streamed:.3f} ms of CPU a streamed token, the model's work "
            f"included; {self.whole:.3f} ms a token of answers in one piece"
        )


def read_peer(trial: Trial, kinds: Sequence[str], peer: Path) -> list[PeerCost]:
    """The cost by kind of request. Raises `ServerError`."""
    slots = trial.num_streams
    flags = ["-m", str(trial.model), "-np", str(slots), "-c", str(slots * 2 * TOKENS), "-t", "1"]
    with running(Side("llama-server", (str(peer),)), flags) as server:
        return asyncio.run(_read(trial, kinds, server))


async def _read(trial: Trial, kinds: Sequence[str], server: Server) -> list[PeerCost]:
    await server.wait_ready()
    pid = server.processes()[0].pid
    own, _ = cores.split_cores()
    cores.pin(pid, own)
    costs = []
    for kind in kinds:
        await _streamed(trial, kind, server)  # warms it up
        before = cores.cpu_seconds(pid)
        await _streamed(trial, kind, server)
        between = cores.cpu_seconds(pid)
        await _whole(trial, kind, server)
        after = cores.cpu_seconds(pid)
        per_token = 1e3 / (trial.num_streams * TOKENS)
        costs.append(PeerCost(kind, per_token * (between - before), per_token * (after - between)))
    return costs


async def _streamed(trial: Trial, kind: str, server: Server) -> None:
    sent = [
        stream(server.address, request(kind, n, TOKENS, cache_prompt=False))
        for n in range(trial.num_streams)
    ]
    for record in await asyncio.gather(*sent):
        if record.error:
            raise ServerError(f"{server.name}: {record.error}")


async def _whole(trial: Trial, kind: str, server: Server) -> None:
    limits = httpx.Limits(max_connections=trial.num_streams)
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=limits) as client:
        sent = []
        for number in range(trial.num_streams):
            asked = request(kind, number, TOKENS, cache_prompt=False)
            body = {**msgspec.json.decode(asked.payload), "stream": False}
            body.pop("stream_options", None)
            sent.append(client.post(f"http://{server.address}{asked.path}", json=body))
        for response in await asyncio.gather(*sent):
            response.raise_for_status()
