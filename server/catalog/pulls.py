"""Pulls that clients have asked for: told to all who wait for them, and remembered a while."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from anyio import to_thread

from config import ServeSettings
from server.errors import ApiError, Forbidden, InvalidRequest, NotFound, Unavailable
from server.pool.interface import ModelPool, PoolEvent, PoolEventKind
from server.store.background import Download, Downloads
from server.store.catalogue import stored_models
from server.store.errors import HostNotAllowed, NotOurs, StoreError, WebError
from server.store.hosts import PullHosts
from server.store.model import StoredModel
from server.store.progress import PullProgress
from server.store.pull import PullOptions, pull_options
from server.store.removal import remove

MOST_REMEMBERED = 100
"""Pulls that are over, and can still be asked for."""

REPORT_SECONDS = 0.1
"""Shortest time between two reports to one listener."""

logger = logging.getLogger("llamapack")


class PullState(StrEnum):
    """How a pull stands, in LM Studio's words."""

    RUNNING = "downloading"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass
class Pull:
    """One pull. Belongs to an event loop; times are Unix times."""

    reference: str
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
    """All pulls of a server, and the removal of what was pulled."""

    def __init__(self, options: Callable[[], PullOptions], pool: ModelPool) -> None:
        """`options` say from where, and to where. They may raise `StoreError`."""
        self._options, self._pool = options, pool
        self._downloads: Downloads | None = None
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
        try:
            if self._downloads is None:
                self._downloads = Downloads(self._options())
            download = self._downloads.start(reference)
        except StoreError as error:
            raise api_error(error) from None
        for pull in self._all.values():
            if pull.download is download and pull.ended is None:
                pull.keeps_on = pull.keeps_on or keeps_on
                return pull
        pull = Pull(reference, download, keeps_on)
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

    async def remove(self, path: str) -> None:
        """Remove the files of a model. Raises `ApiError`."""
        try:
            await to_thread.run_sync(self._remove, Path(path))
        except StoreError as error:
            raise api_error(error) from None
        await self._pool.refresh()

    async def close(self) -> None:
        """End all pulls."""
        if self._downloads is not None:
            await self._downloads.close()
        for task in self._ends.values():
            task.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)

    def _remove(self, path: Path) -> None:
        folders = self._options().folders
        found = next((model for model in stored_models(folders) if model.path == path), None)
        if found is None:
            raise NotOurs("the model's file lies in a folder of the operator's; remove it there")
        remove(found, folders)

    async def _follow(self, pull: Pull) -> None:
        kinds = PoolEventKind
        try:
            async for progress in pull.download.progress():
                pull.note(progress)
                self._publish(kinds.DOWNLOAD_PROGRESS, pull)
            pull.model = await pull.download.result()
            await self._pool.refresh()
        except StoreError as error:
            logger.warning("%s was not pulled: %s", pull.reference[:200], error)
            pull.error = error
        finally:
            pull.ended = time.time()
        is_done = pull.state is PullState.COMPLETED
        self._publish(kinds.DOWNLOAD_FINISHED if is_done else kinds.DOWNLOAD_FAILED, pull)

    def _publish(self, kind: PoolEventKind, pull: Pull) -> None:
        data: dict[str, object] = {"total": pull.total, "completed": pull.completed}
        if pull.error is not None:
            data["error"] = str(pull.error)
        self._pool.publish(PoolEvent(kind, pull.reference, data=data))

    def _forget(self) -> None:
        over = [pull.id for pull in self._all.values() if pull.ended is not None]
        for name in over[: max(len(over) - MOST_REMEMBERED, 0)]:
            del self._all[name], self._ends[name]


def make_pulls(settings: ServeSettings, pool: ModelPool) -> Pulls:
    """The pulls of a server: from the hosts that it allows, and never from its own files."""

    def options() -> PullOptions:
        found = pull_options(os.environ, token=settings.hf_token, is_offline=settings.offline)
        # The operator's own hub is named by a variable.
        hub = urlsplit(found.hub.endpoint).netloc.rpartition("@")[2]
        return replace(found, hosts=PullHosts((*settings.pull_hosts, hub)), takes_files=False)

    return Pulls(options, pool)


def api_error(error: StoreError) -> ApiError:
    """What a client is told of a problem with models on disk."""
    if isinstance(error, HostNotAllowed):
        return Forbidden(f"{error}: add it to --pull-hosts")
    if isinstance(error, NotOurs):
        return Forbidden(str(error))
    if isinstance(error, WebError):
        return Unavailable(str(error))
    return InvalidRequest(str(error), param="model")
