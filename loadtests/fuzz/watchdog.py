"""A served process with an innocent client beside it, for inputs that are tried in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtests.fuzz.family import Place
from loadtests.harness.client import get
from loadtests.harness.servers import Server, ServerError
from loadtests.harness.subject import EXACT, FILLS, api_process, metric, serving
from loadtests.trials.attacks.judge import Bounds, broken_bounds
from loadtests.trials.attacks.watch import Sighting, Watched, Watcher, watching

FLAGS = (*EXACT, *FILLS, "--cache-ram", "16", "--max-queue", "64", "--embeddings", "-n", "16")
SETTLE_SECONDS = 0.3


@dataclass
class Watchdog:
    """What is watched: the server, and the innocent client's process."""

    server: Server
    watcher: Watcher
    place: Place
    bounds: Bounds
    _deaths: float = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        try:
            self.server.check_alive()
        except ServerError:
            return False
        return True

    async def begin(self) -> None:
        """Watch from now on."""
        self._deaths = await self._restarts()
        await self.watcher.begin()

    async def end(self) -> tuple[list[str], Sighting]:
        """The bounds that were broken since `begin`, and what was seen."""
        try:
            await asyncio.sleep(SETTLE_SECONDS)
            seen = await self.watcher.end()
            hard, slow = broken_bounds(seen, self.bounds)
            self.server.check_alive()
            died = await self._restarts() - self._deaths
        except Exception as error:  # whoever talks to a dead server finds out first
            return [f"the server ended: {type(error).__name__} {str(error)[-600:]}"], Sighting()
        return [*hard, *slow, *([f"{died:.0f} engines died"] if died else [])], seen

    async def _restarts(self) -> float:
        return await metric(self.server, "llamapack_engine_restarts_total")


@asynccontextmanager
async def watched_server(folder: Path, bounds: Bounds) -> AsyncIterator[Watchdog]:
    """A server of the demo model with a watchdog."""
    async with serving(*FLAGS) as server:
        _, described = await get(server.address, "/openapi.json")
        place = Place(server.address, folder, msgspec.json.decode(described))
        watched = Watched(server.address, api_process(server).pid)
        async with watching(watched) as watcher:
            yield Watchdog(server, watcher, place, bounds)
