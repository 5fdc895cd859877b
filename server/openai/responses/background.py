"""Responses that are made while no client waits: they run on, and can be followed and ended."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from config.units import MIB
from server.answers.respond import memory_of
from server.engine.unread_output import UnreadBudget
from server.errors import ApiError, EngineFailed, InvalidRequest, Overloaded, Unavailable
from server.generation.choices import open_choices
from server.generation.types import Ended, GenerationRequest, Generator, Item, TextDelta
from server.openai.responses.answer import Growing, data_of, framed
from server.openai.responses.output import Event

MAX_RUNNING = 256
MAX_RUNNING_EACH = 64
"""Most responses that are made in the background: in all, and for each owner."""

MAX_KEPT = 1024
"""Most finished responses whose events are kept for clients that come back to the stream."""


_FRAME_BYTES = 100
"""Memory that a frame takes besides its bytes, roughly."""

_RETRY_SECONDS = 10

_END_SECONDS = 5.0
"""How long responses may take to end early."""

logger = logging.getLogger(__name__)


class Keep(Protocol):
    """Stores a response as it is now."""

    def __call__(self, response: dict[str, Any], *, is_running: bool) -> None:
        """Raises `InvalidRequest` if the response is too large."""
        ...


class BackgroundResponse:
    """One response, and the events that it has had, framed. Too many of them are dropped."""

    def __init__(
        self, owner: str, growing: Growing, keep: Keep, on_growth: Callable[[int], None]
    ) -> None:
        """`keep` stores the response. `on_growth` is told how many bytes more its events take."""
        self.owner = owner
        self.answer_bytes = self.event_bytes = 0
        """Memory that the answer and its events take."""
        self.is_over = self.is_finished = False
        """Finished: its last event is there. Over: nothing happens any more."""
        self._growing = growing
        self._keep = keep
        self._on_growth = on_growth
        self._frames: list[bytes] = []
        self._num_dropped = 0
        """The number of the first event in `_frames`."""
        self._news = asyncio.Event()
        self._status = "queued"
        self._is_stopping = False
        self._reason: ApiError | None = None
        """Why the response has to end; None if its owner wants that."""
        self.task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """The response's id."""
        return self._growing.response.id

    @property
    def num_bytes(self) -> int:
        """All memory that it takes."""
        return self.answer_bytes + self.event_bytes

    def check_events(self, start: int) -> None:
        """Raise `InvalidRequest` if events from this number on are not known any more."""
        if start < self._num_dropped:
            message = f"the response is long: its events are known from {self._num_dropped} on"
            raise InvalidRequest(message, param="starting_after")

    def drop_events(self) -> None:
        """Forget the events so far."""
        self._num_dropped += len(self._frames)
        self._frames.clear()
        self.event_bytes = 0

    def now(self) -> dict[str, Any]:
        """The response as it is at this moment."""
        if self.is_finished:
            found: dict[str, Any] = msgspec.json.decode(data_of(self._frames[-1]))["response"]
            return found
        return self._growing.now(self._status)

    async def begin(
        self,
        generator: Generator,
        sequences: Sequence[GenerationRequest],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """Start to work. Returns once the request waits for a slot; raises what refuses it."""
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._work(generator, sequences, admitted))
        self.task.add_done_callback(on_end)
        # The client may leave meanwhile. The response may be admitted all the same, so it runs on.
        await asyncio.shield(admitted)

    async def end(self, reason: ApiError | None = None) -> None:
        """End the work early: as failed for this reason, or as cancelled."""
        self.stop(reason)
        if self.task is not None:
            await asyncio.wait((self.task,))

    def stop(self, reason: ApiError | None) -> None:
        """Begin to end the work."""
        if self.task is not None and not (self._is_stopping or self.is_over):
            self._is_stopping, self._reason = True, reason
            self.task.cancel()

    async def follow(self, start: int) -> AsyncIterator[bytes]:
        """The frames from this number on, as they come. Ends early if some are dropped."""
        while True:
            news = self._news
            while self._num_dropped <= start < self._num_dropped + len(self._frames):
                yield self._frames[start - self._num_dropped]
                start += 1
            if self.is_over or start < self._num_dropped:
                return
            await news.wait()

    async def _work(
        self,
        generator: Generator,
        sequences: Sequence[GenerationRequest],
        admitted: asyncio.Future[None],
    ) -> None:
        """Make the response. Its output counts apart from the request's, which ends earlier."""
        try:
            with UnreadBudget().open():
                await self._make(generator, sequences, admitted)
        except ApiError as error:
            if admitted.done():
                self._finish([self._growing.fail(error)])
            else:
                admitted.set_exception(error)
        except asyncio.CancelledError:
            self._end_early()
        except Exception:
            logger.exception("a response in the background failed")
            self._finish([self._growing.fail(EngineFailed("the server failed at this answer"))])
        finally:
            if not admitted.done():
                admitted.set_exception(Unavailable("the response was ended before it began"))
            self.is_over = True
            self._news.set()

    async def _make(
        self,
        generator: Generator,
        sequences: Sequence[GenerationRequest],
        admitted: asyncio.Future[None],
    ) -> None:
        # The first report of progress tells that the sequence has a slot.
        watched = [sequence.with_spec(report_progress=True) for sequence in sequences]
        async with open_choices(generator, watched) as items:
            self._keep(self.now(), is_running=True)
            self._add(self._growing.start("queued", "response.created", "response.queued"))
            admitted.set_result(None)
            async for _, item in items:
                self._take(item)

    def _take(self, item: Item) -> None:
        if self._status == "queued":
            self._status = "in_progress"
            self._add(self._growing.start("in_progress", "response.in_progress"))
        size = memory_of(item)
        self.answer_bytes += size
        self._on_growth(size)
        match item:
            case TextDelta():
                self._add(self._growing.add(item))
            case Ended():
                self._finish(list(self._growing.end(item)))

    def _end_early(self) -> None:
        reason = self._reason
        if not self._is_stopping:
            reason = Unavailable("the server has stopped; this answer is cut short")
        self._finish([self._growing.cancel() if reason is None else self._growing.fail(reason)])

    def _finish(self, events: Sequence[Event]) -> None:
        """Add the last events, and store the response, which the last one has. Only once."""
        if self.is_finished:
            return
        self.is_finished = True
        self._add(events)
        try:
            self._keep(events[-1]["response"], is_running=False)
        except sqlite3.Error:
            logger.exception("a response could not be stored")

    def _add(self, events: Iterable[Event]) -> None:
        size = 0
        for event in events:
            frame = framed(event, self._num_dropped + len(self._frames))
            self._frames.append(frame)
            size += len(frame) + _FRAME_BYTES
        self.event_bytes += size
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._on_growth(size)


class Backgrounds:
    """All responses of the background, in bounds. Belongs to one event loop."""

    def __init__(self, max_bytes: int = 32 * MIB) -> None:
        """`max_bytes` is the most memory that one answer may take, and that its events may take;
        all responses together may take twice as much."""
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._running: dict[str, BackgroundResponse] = {}
        self._kept: dict[str, BackgroundResponse] = {}
        """Finished ones, the oldest first."""

    @property
    def num_running(self) -> int:
        """Responses that aren't finished."""
        return len(self._running)

    def new(self, owner: str, growing: Growing, keep: Keep) -> BackgroundResponse:
        """A response that has not begun."""
        made = BackgroundResponse(owner, growing, keep, lambda size: self._grown(made, size))
        return made

    def get(self, owner: str, id_: str) -> BackgroundResponse | None:
        """A response of this owner, if it runs, or has ended and its events are still known."""
        found = self._running.get(id_) or self._kept.get(id_)
        return found if found is not None and found.owner == owner else None

    def check_room(self, owner: str) -> None:
        """Raise `Overloaded` if the owner may not have another one now."""
        own = sum(one.owner == owner for one in self._running.values())
        if own >= MAX_RUNNING_EACH or len(self._running) >= MAX_RUNNING:
            most = MAX_RUNNING_EACH if own >= MAX_RUNNING_EACH else MAX_RUNNING
            text = f"{most} responses are being made in the background already"
            raise Overloaded(text, retry_after=_RETRY_SECONDS, reason="background")

    async def begin(
        self,
        made: BackgroundResponse,
        generator: Generator,
        sequences: Sequence[GenerationRequest],
        on_end: Callable[[], None],
    ) -> None:
        """Begin a response, for which there must be room. Raises what refuses it.

        `on_end` is called when its work is over, however it ends.
        """
        self._running[made.id] = made

        def finished(task: object) -> None:
            self._finished(made)
            on_end()

        await made.begin(generator, sequences, finished)

    def forget(self, made: BackgroundResponse) -> None:
        """Keep the events of a finished response no longer."""
        if self._kept.pop(made.id, None) is not None:
            self._num_bytes -= made.num_bytes

    async def wait(self, seconds: float) -> None:
        """Wait until nothing runs, or for this long."""
        tasks = [one.task for one in self._running.values() if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def end(self, reason: ApiError) -> None:
        """End what still runs, as failed for this reason."""
        running = list(self._running.values())
        for one in running:
            one.stop(reason)
        await self.wait(_END_SECONDS)

    def _finished(self, made: BackgroundResponse) -> None:
        self._running.pop(made.id, None)
        if made.num_bytes:
            self._kept[made.id] = made
            self._make_room()

    def _grown(self, made: BackgroundResponse, num_bytes: int) -> None:
        """Keep within the bounds of memory."""
        self._num_bytes += num_bytes
        if made.answer_bytes > self._max_bytes:
            made.stop(_too_large(self._max_bytes))
        if made.event_bytes > self._max_bytes:
            self._drop_events(made)
        self._make_room()

    def _drop_events(self, made: BackgroundResponse) -> None:
        if not made.is_finished:
            self._num_bytes -= made.event_bytes
            made.drop_events()

    def _make_room(self) -> None:
        """The owner that takes most gives way: its oldest finished response, or its largest one."""
        while self._num_bytes > 2 * self._max_bytes or len(self._kept) > MAX_KEPT:
            owner = self._heaviest()
            kept = next((one for one in self._kept.values() if one.owner == owner), None)
            if kept is None:
                running = [one for one in self._running.values() if one.owner == owner]
                largest = max(running, key=lambda one: one.num_bytes)
                self._drop_events(largest)
                if self._num_bytes > 2 * self._max_bytes:
                    largest.stop(_too_much(2 * self._max_bytes))
                    return
            else:
                self.forget(kept)

    def _heaviest(self) -> str:
        """The owner that takes most memory, of those that have finished responses if any has."""
        sizes: Counter[str] = Counter()
        for one in (self._kept or self._running).values():
            sizes[one.owner] += one.num_bytes
        return max(sizes, key=sizes.__getitem__)


def _too_large(limit: int) -> ApiError:
    text = f"the answer takes more than {limit // MIB} MiB: ask for fewer tokens or logprobs"
    return InvalidRequest(text)


def _too_much(limit: int) -> ApiError:
    text = f"answers that are made in the background take more than {limit // MIB} MiB"
    return Overloaded(text, retry_after=_RETRY_SECONDS, reason="background")
