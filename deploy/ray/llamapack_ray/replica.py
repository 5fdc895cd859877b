"""A replica: an engine process of its own, and what Serve asks about it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

from llamapack_ray.call import Call, Head
from llamapack_ray.engine import Engine
from llamapack_ray.options import Options

logger = logging.getLogger("ray.serve")


class Replica:
    """Passes requests to its engine. Serve makes one for each replica."""

    async def __init__(self, options: Options) -> None:  # type: ignore[misc]  # Serve awaits it
        """Start the engine, and wait until it is ready."""
        self._options = options
        self._engine = await Engine.start(options)
        self._watch = asyncio.create_task(self._end_with_engine())

    async def answer(self, call: Call) -> AsyncIterator[Head | bytes]:
        """The head of the answer, then its body as it comes."""
        async for piece in self._engine.answer(call):
            yield piece

    async def check_health(self) -> None:
        """Serve replaces the replica if this raises several times in a row."""
        await self._engine.check()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `llamapack_ray.scaling` decides by."""
        return await self._engine.stats(self._options.metrics_key)

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._watch.cancel()
            self._engine.stop()

    async def _end_with_engine(self) -> None:
        """A replica without its engine would swallow requests, so it goes at once."""
        status = await self._engine.ended()
        logger.error("the engine's server ended with status %d", status)
        os._exit(1)
