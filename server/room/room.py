"""One asker for all who watch: views at a bounded rate, frames that are encoded once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

from msgspec.structs import asdict

from server.context import ServerContext
from server.errors import Overloaded
from server.http.json_response import encode_json
from server.pool.interface import ModelPool
from server.room.difference import difference
from server.room.engine_watch import EngineWatch
from server.room.models_watch import ModelsWatch
from server.room.schema import RoomView, ServerView

PERIOD = 0.5
"""Seconds between two looks."""

MAX_SHARE = 0.01
"""The part of a core that looks may take: where one takes long, the next one comes later."""

MAX_READERS = 64

RETRY_SECONDS = 5


class Room:
    """What happens in the server. Belongs to one event loop.

    Engines are asked only while somebody reads. A reader gets a snapshot first, then the changes.
    No frame waits for anybody: a reader that misses one gets the next snapshot.
    """

    def __init__(
        self,
        pool: ModelPool,
        server: Callable[[], ServerView],
        is_over: Callable[[], bool] = lambda: False,
        period: float = PERIOD,
    ) -> None:
        """Streams end once `is_over`. `period` is in seconds."""
        self._pool = pool
        self._server = server
        self._is_over = is_over
        self._period = period
        self._to_unix = time.time() - time.monotonic()
        self._num_readers = 0
        self._asker: asyncio.Task[None] | None = None
        self._watches: dict[str, EngineWatch] = {}
        self._models: ModelsWatch | None = None
        self._view: RoomView | None = None
        self._version = 0
        self._update = b""
        """The frame that leads from the version before to this one."""
        self._snapshot: tuple[int, bytes] = (0, b"")
        """The last snapshot that was encoded, and its version."""
        self._turn = asyncio.Event()
        """Set when there is a new version, or the end; then another event takes its place."""

    @property
    def num_readers(self) -> int:
        """Streams that are open."""
        return self._num_readers

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a reader, and let the engines be asked. Entering raises `Overloaded`."""
        if self._num_readers >= MAX_READERS:
            raise Overloaded(
                f"{MAX_READERS} clients read events already", retry_after=RETRY_SECONDS
            )
        self._num_readers += 1
        if self._asker is None:
            self._asker = asyncio.create_task(self._ask(), name="watch the engines")
            self._asker.add_done_callback(lambda _: self._wake())
        try:
            yield
        finally:
            self._num_readers -= 1
            if not self._num_readers:
                self._stop()

    async def frames(self) -> AsyncIterator[bytes]:
        """A snapshot, then updates; a reader has to have entered."""
        seen, asker = 0, self._asker
        assert asker is not None
        while not asker.done():
            if seen == self._version:
                await self._turn.wait()
                continue
            frame = self._update if seen and seen == self._version - 1 else self._encoded()
            seen = self._version
            yield frame
        if not asker.cancelled():
            asker.result()

    def _stop(self) -> None:
        """Forget everything: the next reader begins anew."""
        if self._asker is not None:
            self._asker.cancel()
        for watch in self._watches.values():
            watch.close()
        if self._models is not None:
            self._models.close()
        self._asker, self._view, self._watches, self._models = None, None, {}, None
        self._version, self._snapshot = 0, (0, b"")

    def _wake(self) -> None:
        """Let those who wait look whether there is something new."""
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def _ask(self) -> None:
        while not self._is_over():
            begin = time.monotonic()
            await self._ask_engines()
            ready = time.thread_time()
            self._publish(self._look())
            took = time.thread_time() - ready
            spent = time.monotonic() - begin
            await asyncio.sleep(max(self._period - spent, self._period / 5, took / MAX_SHARE))

    async def _ask_engines(self) -> None:
        contexts, shows_texts = _loaded(self._pool), self._server().shows_texts
        for name in [name for name in self._watches if self._is_stale(name, contexts)]:
            self._watches.pop(name).close()
        for name, context in contexts.items():
            if name not in self._watches:
                watch = EngineWatch(context, self._to_unix, shows_texts=shows_texts)
                self._watches[name] = watch
        await asyncio.gather(*(watch.ask() for watch in self._watches.values()))

    def _look(self) -> RoomView:
        self._models = self._models or ModelsWatch(self._pool)
        models = self._models.look()
        engines = {name: watch.look() for name, watch in self._watches.items()}
        return RoomView(self._server(), models, self._models.downloads, engines)

    def _is_stale(self, name: str, contexts: Mapping[str, ServerContext]) -> bool:
        """Whether the model of a watch is gone, or was loaded anew."""
        return contexts.get(name) is not self._watches[name].context

    def _publish(self, view: RoomView) -> None:
        if self._view is None:
            update = b""
        else:
            changed = difference(self._view, view)
            if not changed:
                return
            update = _frame("update", {"time": _now(), **changed})
        self._version += 1
        self._view, self._update = view, update
        self._wake()

    def _encoded(self) -> bytes:
        """The snapshot of this version."""
        version, frame = self._snapshot
        if version != self._version:
            assert self._view is not None
            frame = _frame("snapshot", {"time": _now(), **asdict(self._view)})
            self._snapshot = (self._version, frame)
        return frame


def _loaded(pool: ModelPool) -> Mapping[str, ServerContext]:
    """The models that have an engine, by name."""
    if pool.only is not None:
        return {pool.only.model_name: pool.only}  # also while it loads or restarts
    contexts = ((model.name, pool.loaded(model.name)) for model in pool.models())
    return {name: context for name, context in contexts if context is not None}


def _now() -> float:
    return round(time.time(), 3)


def _frame(kind: str, payload: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode_json(payload) + b"\n\n"
