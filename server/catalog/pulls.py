"""Downloads by the clients that asked for them: who listens, and what became of them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from server.errors import ApiError, Forbidden, InvalidRequest, NotFound, NotSupported, Unavailable
from server.pool.interface import ModelPool
from server.store.background import Download, Downloads
from server.store.errors import HostNotAllowed, StoreError, WebError
from server.store.model import StoredModel
from server.store.progress import PullProgress

MOST_REMEMBERED = 100
"""Pulls that are over, and can still be asked for."""

REPORT_SECONDS = 0.1
"""Shortest time between two reports to one listener."""


class PullState(StrEnum):
    """How a pull stands, in LM Studio's words."""

    RUNNING = "downloading"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass
class Pull:
    """One download. Belongs to an event loop; times are Unix times."""

    download: Download
    keeps_on: bool
    """Whether it goes on when nobody listens."""
    id: str = field(default_factory=lambda: f"job_{secrets.token_hex(5)}")
    model: StoredModel | None = None
    """What was pulled, once it is complete."""
    error: StoreError | None = None
    started: float = field(default_factory=time.time)
    ended: float | None = None
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Bytes of each file that was begun: all, and those that are there."""
    num_listeners: int = 0

    @property
    def state(self) -> PullState:
        """How it stands."""
        if self.ended is None:
            return PullState.RUNNING
        return PullState.FAILED if self.model is None else PullState.COMPLETED

    @property
    def total(self) -> int:
        """Bytes of the files that were begun."""
        return sum(total for total, _ in self.files.values())

    @property
    def completed(self) -> int:
        """Bytes of them that are there."""
        return sum(completed for _, completed in self.files.values())

    def note(self, progress: PullProgress) -> None:
        """Take a report."""
        if progress.file and progress.total is not None:
            self.files[progress.file] = (progress.total, progress.completed)


class Pulls:
    """The downloads that clients wait for, or may ask for later. Belongs to an event loop."""

    def __init__(self, downloads: Downloads, pool: ModelPool) -> None:
        self._downloads, self._pool = downloads, pool
        self._all: dict[str, Pull] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}

    def all(self) -> Sequence[Pull]:
        """Those that run, and the latest of the others."""
        return list(self._all.values())

    def get(self, name: str) -> Pull:
        """The pull with this id. Raises `NotFound`."""
        if name not in self._all:
            raise NotFound(f"there is no download {name[:100]!r}")
        return self._all[name]

    def start(self, reference: str, *, keeps_on: bool) -> Pull:
        """Begin a pull, or join the one that runs. Raises `ApiError` for what can't be pulled."""
        if self._pool.only is not None:
            raise NotSupported("this server was started for one model, which stays the only one")
        running = self._downloads.running()
        try:
            download = self._downloads.start(reference)
        except StoreError as error:
            raise api_error(error) from None
        for pull in self._all.values():
            if pull.download is download and pull.ended is None:
                pull.keeps_on = pull.keeps_on or keeps_on
                return pull
        # One that somebody else began is not ours to end.
        pull = Pull(download, keeps_on or download in running)
        self._all[pull.id] = pull
        self._ends[pull.id] = asyncio.create_task(self._follow(pull), name=f"follow {pull.id}")
        self._forget()
        return pull

    @contextmanager
    def listening(self, pull: Pull) -> Iterator[None]:
        """Listen to a pull. One to which nobody listens any more is called off, unless it keeps
        on."""
        pull.num_listeners += 1
        try:
            yield
        finally:
            pull.num_listeners -= 1
            if not pull.num_listeners and not pull.keeps_on:
                pull.download.cancel()

    async def reports(self, pull: Pull) -> AsyncIterator[PullProgress]:
        """The reports as they come, until the pull is over; of many in a moment the last."""
        async for progress in pull.download.progress():
            yield progress
            await asyncio.sleep(REPORT_SECONDS)
        await self.wait(pull)

    async def wait(self, pull: Pull) -> None:
        """Wait until a pull is over, and what it brought is served."""
        await asyncio.shield(self._ends[pull.id])

    async def close(self) -> None:
        """Follow no pull any more."""
        for task in self._ends.values():
            task.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)

    async def _follow(self, pull: Pull) -> None:
        try:
            async for progress in pull.download.progress():
                pull.note(progress)
            pull.model = await pull.download.result()
            await self._pool.refresh()
        except StoreError as error:
            pull.error = error
        finally:
            pull.ended = time.time()

    def _forget(self) -> None:
        over = [pull.id for pull in self._all.values() if pull.ended is not None]
        for name in over[: max(len(over) - MOST_REMEMBERED, 0)]:
            del self._all[name], self._ends[name]


def api_error(error: StoreError) -> ApiError:
    """What a client is told of a download that fails."""
    if isinstance(error, HostNotAllowed):
        return Forbidden(f"{error}; the operator allows hosts with --pull-hosts")
    if isinstance(error, WebError):
        return Unavailable(str(error))
    return InvalidRequest(str(error), param="model")
