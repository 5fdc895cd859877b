"""Pulls that go on without the client that asked for them: progress for everybody, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from server.startup import ModelFileError
from server.store.errors import PullCancelled, StoreError
from server.store.folders import Folders
from server.store.model import StoredModel
from server.store.progress import PullProgress, PullStatus
from server.store.pull import PullOptions, check_allowed, pull
from server.store.reference import Reference, parse_reference

_Value = TypeVar("_Value")

MOST_AT_ONCE = 2
"""Pulls that run at the same time; further ones wait their turn."""


class Download:
    """One pull in the background."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.latest = PullProgress(PullStatus.WAITING, str(reference), reason="it waits its turn")
        self._is_cancelled = threading.Event()
        self._has_begun = False
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._version = 0
        self._result: asyncio.Future[StoredModel] = self._loop.create_future()
        self._result.add_done_callback(lambda future: future.cancelled() or future.exception())

    @property
    def is_done(self) -> bool:
        """Whether the pull has ended, well or not."""
        return self._result.done()

    @property
    def is_ending(self) -> bool:
        """Whether nobody can join the pull any more."""
        return self.is_done or self._is_cancelled.is_set()

    def cancel(self) -> None:
        """Call the pull off. What has come stays for the next pull.

        One that waits for its turn ends at once.
        """
        self._is_cancelled.set()
        if not self._has_begun and not self.is_done:
            self._fail(PullCancelled("the pull was cancelled before it began"))

    async def progress(self) -> AsyncIterator[PullProgress]:
        """Reports until the pull ends. A slow reader gets the latest report, not each one."""
        seen = -1
        while True:
            if seen != self._version:
                seen = self._version
                yield self.latest
            elif self.is_done:
                return
            else:
                await self._changed.wait()

    async def result(self) -> StoredModel:
        """The model. Raises `StoreError`."""
        return await asyncio.shield(self._result)

    async def run(self, options: PullOptions) -> None:
        """Pull in a thread of its own, which doesn't keep the process from ending."""
        if self.is_done:
            return
        self._has_begun = True
        threading.Thread(target=self._pull, args=(options,), name="pull", daemon=True).start()
        with suppress(StoreError):
            await self.result()

    def _pull(self, options: PullOptions) -> None:
        try:
            model = pull(
                self.reference,
                lambda progress: self._post(self._report, progress),
                is_cancelled=self._is_cancelled.is_set,
                options=options,
            )
        except StoreError as error:
            self._post(self._fail, error)
        except ModelFileError as error:
            self._post(self._fail, StoreError(str(error)))
        except Exception as error:
            self._post(self._fail, StoreError(f"the pull failed: {error}"))
        else:
            self._post(self._finish, model)

    def _post(self, take: Callable[[_Value], None], value: _Value) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(take, value)

    def _report(self, progress: PullProgress) -> None:
        self.latest = progress
        self._wake()

    def _finish(self, model: StoredModel) -> None:
        self._result.set_result(model)
        self._wake()

    def _fail(self, error: StoreError) -> None:
        self._result.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        self._version += not self.is_done
        self._changed.set()
        self._changed = asyncio.Event()


Observe = Callable[[Download], Awaitable[None]]
"""Follows one pull until it ends."""


async def unobserved(download: Download) -> None:
    """Follow a pull that nobody wants to hear of."""


class Downloads:
    """All pulls in the background; two that ask for the same are one."""

    def __init__(self, options: PullOptions, observe: Observe = unobserved) -> None:
        """`options` say which hosts may be asked."""
        self._options = options
        self._observe = observe
        self._running: dict[str, Download] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    @property
    def folders(self) -> Folders:
        """Where pulled models go."""
        return self._options.folders

    def running(self) -> list[Download]:
        """The pulls that have not ended."""
        return [download for download in self._running.values() if not download.is_done]

    def start(self, reference: str) -> Download:
        """Begin a pull, or join the one that runs.

        Raises `StoreError` for what can't be pulled, and `HostNotAllowed`.
        """
        asked = parse_reference(reference)
        check_allowed(asked, self._options)
        known = self._running.get(str(asked))
        if known is not None and not known.is_ending:
            return known
        download = Download(asked)
        self._running[str(asked)] = download
        task = asyncio.create_task(self._run(download), name=f"pull {asked}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return download

    def cancel(self, reference: str) -> bool:
        """Call a pull off. Returns False if there is none."""
        download = self._running.get(reference)
        if download is None or download.is_ending:
            return False
        download.cancel()
        return True

    async def close(self) -> None:
        """Call all pulls off, and wait until nobody waits for them any more."""
        for download in self.running():
            download.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, download: Download) -> None:
        try:
            await asyncio.gather(self._observe(download), self._in_turn(download))
        finally:
            if self._running.get(str(download.reference)) is download:
                del self._running[str(download.reference)]

    async def _in_turn(self, download: Download) -> None:
        async with self._turns:
            await download.run(self._options)
