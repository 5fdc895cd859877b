"""Watches the models of the server: which are loaded, what they take, what is downloaded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from server.pool.interface import ModelPool, PoolEvent, PoolEventKind, ServedModel
from server.room.schema import DownloadView, ModelView

TURNS_BETWEEN = 4
"""Without an event, the pool is asked at every fourth look: for memory and for users."""

MAX_DOWNLOADS = 32
MAX_MESSAGE = 200

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
        self._downloads: dict[str, _Download] = {}
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
        return [download.view for download in self._downloads.values()]

    def close(self) -> None:
        """Listen no more."""
        self._listener.cancel()

    async def _listen(self) -> None:
        async for event in self._pool.subscribe():
            self._is_due = True
            if event.kind in _STATES:
                self._note_download(event)

    def _note_download(self, event: PoolEvent) -> None:
        """Note an event of a download; one that is over begins anew."""
        known = self._downloads.pop(event.model, None)
        is_new = known is None or known.view.state != "running"
        download = _Download(event.model) if known is None or is_new else known
        download.take(event)
        self._downloads[event.model] = download
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


class _Download:
    """A download, as its events tell of it: each one of a file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: dict[str, tuple[int, int]] = {}
        self._state = "running"
        self._message = ""

    def take(self, event: PoolEvent) -> None:
        """Learn what an event tells."""
        self._state = _STATES[event.kind]
        if event.kind is not PoolEventKind.DOWNLOAD_PROGRESS:
            if event.data.get("cancelled"):
                self._state = "cancelled"
            self._message = str(event.data.get("reason", ""))[:MAX_MESSAGE]
            return
        for file, told in event.data.items():
            if isinstance(told, Mapping):
                self._files[file] = (told.get("done") or 0, told.get("total") or 0)

    @property
    def view(self) -> DownloadView:
        """All files together."""
        done = sum(done for done, _ in self._files.values())
        total = sum(total for _, total in self._files.values())
        return DownloadView(self._name, self._state, done, total, self._message)


def _in_steps(size: int) -> int:
    return size // MEMORY_STEP * MEMORY_STEP
