"""Watches the models of the server: which are loaded, what they take, what is downloaded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from server.pool.interface import ModelPool, PoolEvent, PoolEventKind, ServedModel
from server.room.schema import DownloadView, ModelView

TURNS_BETWEEN = 8
"""Without an event, the pool is asked at every eighth look: for memory and for users."""

MAX_DOWNLOADS = 32

MEMORY_STEP = 1 << 20
"""Memory is shown in whole MiB, so that a byte more is no news."""

_STATES = {
    PoolEventKind.DOWNLOAD_PROGRESS: "running",
    PoolEventKind.DOWNLOAD_FINISHED: "finished",
    PoolEventKind.DOWNLOAD_FAILED: "failed",
}


class ModelsWatch:
    """What is shown of the models. Its looks come one after the other."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._turn = 0
        self._is_due = True
        self._models: list[ModelView] = []
        self._downloads: dict[str, DownloadView] = {}
        self._listener = asyncio.create_task(self._listen(), name="watch the models")

    def look(self) -> list[ModelView]:
        """All models."""
        self._turn += 1
        if self._is_due or self._turn % TURNS_BETWEEN == 0:
            self._is_due = False
            self._models = [model_view(model) for model in self._pool.models()]
        return self._models

    @property
    def downloads(self) -> list[DownloadView]:
        """What is downloaded, and what was since the watch began, the latest last."""
        return list(self._downloads.values())

    def close(self) -> None:
        """Listen no more."""
        self._listener.cancel()

    async def _listen(self) -> None:
        async for event in self._pool.subscribe():
            self._is_due = True
            if event.kind in _STATES:
                self._downloads.pop(event.model, None)
                self._downloads[event.model] = download_view(event)
                while len(self._downloads) > MAX_DOWNLOADS:
                    del self._downloads[next(iter(self._downloads))]


def model_view(model: ServedModel) -> ModelView:
    """One model, without the folder of its file."""
    memory = model.memory
    return ModelView(
        name=model.name,
        aliases=model.aliases,
        state=model.state.value,
        failure=model.failure,
        host_bytes=None if memory is None else _in_steps(memory.host),
        device_bytes=None if memory is None else _in_steps(memory.device),
        pinned=model.is_pinned,
        keep_alive=None if math.isinf(model.keep_alive) else model.keep_alive,
        expires=model.expires_at,
        last_used=model.last_used,
        loaded=model.loaded_at,
        progress=model.progress,
        users=model.num_users,
        tags=model.tags,
    )


def download_view(event: PoolEvent) -> DownloadView:
    """A download as an event tells of it."""
    data = event.data
    return DownloadView(
        model=event.model,
        state=_STATES[event.kind],
        completed=_total(data, "completed"),
        total=_total(data, "total"),
        message=str(data.get("error") or data.get("status") or "")[:200],
    )


def _total(data: Mapping[str, object], name: str) -> int:
    """The bytes of one file or of several: events tell one number, or one for each file."""
    value: Any = data.get(name, 0)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sum(int(one) for one in value if isinstance(one, int | float))
    return int(value) if isinstance(value, int | float) else 0


def _in_steps(size: int) -> int:
    return size // MEMORY_STEP * MEMORY_STEP
