"""The API process's end of the socket: submits sequences, hands out their events."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from protocol.blocks import BlockEvent
from protocol.codec import Codec, Frames
from protocol.commands import (
    Abort,
    AddRequest,
    Command,
    EndThinking,
    EraseSlot,
    Inspect,
    InspectBlocks,
    Load,
    LoraSet,
    RestoreSlot,
    SaveSlot,
    SequenceSpec,
    Shutdown,
)
from protocol.config import EngineConfig
from protocol.events import Finished, FinishReason, Generated
from protocol.messages import (
    AddingRequest,
    BlockReport,
    BlocksChanged,
    Heartbeat,
    LoadFailed,
    Message,
    ModelInfo,
    Ready,
    Reply,
    SlotChanged,
    SlotRefused,
    SlotReport,
    StepOutputs,
    StepStats,
    ThinkingEnded,
)
from server.engine.history import REMEMBERED, SequenceHistory, history_of
from server.engine.recovery import Recovery
from server.engine.sequence_stream import NO_HANDLE, Handle, SequenceStream, StreamListener
from server.engine.slot_refusals import refused_slot
from server.errors import ApiError, EngineFailed, InvalidRequest, Unavailable

logger = logging.getLogger(__name__)

INSPECT_SECONDS = 30.0
"""How long a question about the slots may wait for the step that is running."""


class EngineClient:
    """The API process's view of the engine. Belongs to one event loop."""

    def __init__(
        self,
        on_step: Callable[[StepStats], None],
        on_death: Callable[[], None] = lambda: None,
        on_blocks: Callable[[list[BlockEvent]], None] = lambda events: None,
    ) -> None:
        """`on_blocks` is told what becomes of the cache's blocks, if the engine tells it."""
        self.streams: dict[int, SequenceStream] = {}
        self.has_generated = False
        """Whether the current engine has generated anything."""
        self._recovery = Recovery()
        self._on_step = on_step
        self._on_death = on_death
        self._on_blocks = on_blocks
        self._codec = Codec()
        self._link: _Link | None = None
        self._loaded: asyncio.Future[ModelInfo] | None = None
        self._ids = itertools.count(1)
        self._queries: dict[int, asyncio.Future[Reply]] = {}
        self._model: ModelInfo | None = None
        self._is_up = False
        self._heartbeat: float | None = None
        self._past: deque[SequenceHistory] = deque(maxlen=REMEMBERED)
        """The sequences that ended last."""
        self.outage = ""
        """Why no engine can be started for now; "" while one runs or is expected."""

    async def connect(self, sock: socket.socket, config: EngineConfig) -> None:
        """Talk to the engine at the other end of a socket pair; tell it what to load."""
        loop = asyncio.get_running_loop()
        self._loaded = self._loaded or loop.create_future()
        link = _Link(self._codec, self._handle)
        await loop.create_unix_connection(lambda: link, sock=sock)
        self._link = link
        self.has_generated = False
        self._send(Load(config))

    @property
    def model(self) -> ModelInfo:
        """Facts about the loaded model. Raises `Unavailable` while there is none."""
        if self.outage:
            raise Unavailable(self.outage)
        if self._model is None:
            raise Unavailable("Loading model")
        return self._model

    @property
    def is_ready(self) -> bool:
        """Whether an engine is up with the model loaded."""
        return self._is_up

    @property
    def heartbeat_age(self) -> float | None:
        """Seconds since the engine's loop last ran; None before its first run."""
        return None if self._heartbeat is None else time.monotonic() - self._heartbeat

    async def wait_loaded(self) -> ModelInfo:
        """Wait for the first engine to report. Raises `EngineFailed` if it can't load."""
        self._loaded = self._loaded or asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._loaded)

    @property
    def num_sequences(self) -> int:
        """Sequences that run or wait."""
        return len(self.streams)

    def add_request(
        self,
        spec: SequenceSpec,
        num_requests_being_read: int = 0,
        listener: StreamListener | None = None,
        handle: Handle = NO_HANDLE,
    ) -> SequenceStream:
        """Queue a sequence under a new id. Raises `Unavailable`."""
        _ = self.model
        request = AddRequest(
            request_id=next(self._ids),
            spec=spec,
            num_requests_being_read=num_requests_being_read,
        )
        stream = SequenceStream(request, listener, handle)
        self.streams[request.request_id] = stream
        if self._is_up and self._recovery.is_over:
            self._send_stream(stream)
        else:
            self._submit_due()
        return stream

    def release(self, stream: SequenceStream) -> None:
        """Forget a stream; the engine is told to stop if it hasn't finished."""
        if stream.request.request_id not in self.streams:
            return
        self._remove(stream, "enough" if stream.has_enough else "left")
        if stream.is_submitted:
            self._send(Abort([stream.request.request_id]))
        if not self._recovery.is_over:
            self._submit_due()

    async def end_thinking(self, name: str, tenant: str) -> str:
        """End the thinking of a tenant's answers that have this name.

        Returns why nothing was ended; "" if something was. Raises `Unavailable`.
        """
        named = [s for s in self.streams.values() if s.handle.name == name and name]
        streams = [stream for stream in named if stream.request.spec.tenant == tenant]
        if not streams:
            return "no active completion for this id"
        if not streams[0].handle.can_end_thinking:
            return "reasoning control not enabled for this completion"
        ended = [await self._end_thinking(stream) for stream in streams]
        return "" if any(ended) else "the completion is not reasoning now"

    async def _end_thinking(self, stream: SequenceStream) -> bool:
        if stream.tokens and not stream.is_submitted:  # the next engine ends it
            stream.thinking_ended_at = len(stream.tokens)
            return True
        request_id = stream.request.request_id
        reply = await self._ask(lambda query_id: EndThinking(query_id, request_id))
        assert isinstance(reply, ThinkingEnded)
        if reply.num_tokens is None:
            return False
        stream.thinking_ended_at = reply.num_tokens
        return True

    def specs(self) -> dict[int, SequenceSpec]:
        """What each sequence that isn't over computes, by its id."""
        return {request_id: stream.request.spec for request_id, stream in self.streams.items()}

    def lora_sets(self, *, are_running: bool) -> set[LoraSet]:
        """The sets of adapters of the sequences that have a slot, or of those that have none."""
        streams = self.streams.values()
        return {s.request.spec.lora for s in streams if s.is_running == are_running}

    def histories(self) -> list[SequenceHistory]:
        """The sequences that ended last, then those that wait or run, in the order of their ids."""
        return [*self._past, *map(history_of, self.streams.values())]

    async def inspect(self, max_nodes: int = 0) -> SlotReport:
        """The slots as they are between two steps, and `max_nodes` nodes of the prefix index.

        Raises `Unavailable`.
        """
        reply = await self._ask(lambda query_id: Inspect(query_id, max_nodes))
        assert isinstance(reply, SlotReport)
        return reply

    async def inspect_blocks(self) -> BlockReport:
        """The cache's blocks as they are between two steps. Raises `Unavailable`."""
        reply = await self._ask(InspectBlocks)
        assert isinstance(reply, BlockReport)
        return reply

    async def save_slot(self, slot: int, path: str) -> SlotChanged:
        """Write what an idle slot holds to a file.

        Raises `NotFound`, `InvalidRequest`, `EngineFailed` and `Unavailable`; so do the next three.
        """
        return _changed(await self._ask(lambda query_id: SaveSlot(query_id, slot, path)))

    async def export_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        """Write what an idle slot holds to a file in llama.cpp's format, if it has this salt."""
        return _changed(
            await self._ask(lambda query_id: SaveSlot(query_id, slot, path, True, cache_salt))
        )

    async def restore_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        """Fill an idle slot from a file of either format. What has no salt gets this one."""
        return _changed(
            await self._ask(lambda query_id: RestoreSlot(query_id, slot, path, cache_salt))
        )

    async def erase_slot(self, slot: int) -> SlotChanged:
        """Empty an idle slot."""
        return _changed(await self._ask(lambda query_id: EraseSlot(query_id, slot)))

    async def _ask(self, command: Callable[[int], Command]) -> Reply:
        """Send the command that `command` makes for an id; return the reply.

        Raises `Unavailable`.
        """
        if not self._is_up:
            raise Unavailable("Loading model" if self._model is None else "the engine restarts")
        query_id = next(self._ids)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._queries[query_id] = answer
        self._send(command(query_id))
        try:
            return await asyncio.wait_for(answer, INSPECT_SECONDS)
        except TimeoutError:
            raise Unavailable("the engine is busy with a long step") from None
        finally:
            self._queries.pop(query_id, None)

    async def wait_disconnected(self) -> None:
        """Wait until all messages of a dead engine are read, for at most a second."""
        if self._link is not None:
            await asyncio.wait([self._link.disconnected], timeout=1.0)

    def engine_died(self) -> None:
        """The process died: keep its sequences for the next engine, except those to blame."""
        self._is_up = False
        self._heartbeat = None
        self.has_generated = False
        self._on_death()
        for query in self._queries.values():
            if not query.done():
                query.set_exception(Unavailable("the engine restarts"))
        for stream in self._recovery.engine_died(self.streams.values()):
            self._remove(stream)
            stream.fail(EngineFailed("the engine died repeatedly while running this request"))
        if self._link is not None:
            self._link.close()
            self._link = None

    def declare_outage(self, message: str) -> None:
        """No engine comes for a while: end every stream, and refuse requests until one comes."""
        self.outage = message
        for stream in list(self.streams.values()):
            self._remove(stream)
            stream.fail(Unavailable(message))

    def give_up(self, message: str) -> None:
        """No engine will come: end every stream with an error."""
        self._could_not_load(message)
        for stream in list(self.streams.values()):
            self._remove(stream)
            stream.fail(EngineFailed(message))

    def end_streams(self, error: ApiError) -> None:
        """End every stream with an error; its reader then releases the sequence."""
        for stream in self.streams.values():
            stream.fail(error)

    def shut_down(self) -> None:
        """Ask the engine to end."""
        self._send(Shutdown())

    def _remove(self, stream: SequenceStream, outcome: str = FinishReason.FAILED) -> None:
        del self.streams[stream.request.request_id]
        self._past.append(history_of(stream, time.monotonic(), outcome))
        stream.end()

    def _send(self, command: Command) -> None:
        if self._link is not None:
            self._link.send(command)

    def _handle(self, message: Message) -> None:
        match message:
            case StepOutputs():
                self._heartbeat = message.end
                self._distribute(message)
            case AddingRequest():
                self._note_queued(message.queued)
                if stream := self.streams.get(message.request_id):
                    stream.is_being_added = True
            case Heartbeat():
                self._heartbeat = message.time
            case BlocksChanged():
                self._on_blocks(message.events)
            case SlotReport() | BlockReport() | SlotChanged() | SlotRefused() | ThinkingEnded():
                answer = self._queries.get(message.query_id)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case Ready():
                self._model_loaded(message.model)
            case LoadFailed():
                self._could_not_load(message.message)

    def _could_not_load(self, message: str) -> None:
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(EngineFailed(message))

    def _model_loaded(self, model: ModelInfo) -> None:
        if self._model is not None:
            logger.info("the engine runs again; %d answers go on", self.num_sequences)
        self._model = model
        self._is_up = True
        self.outage = ""
        self._heartbeat = time.monotonic()
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(model)
        self._submit_due()

    def _submit_due(self) -> None:
        """Send the engine the sequences that are due; after a death, not all are due at once."""
        if not self._is_up:
            return
        for stream in self._recovery.next(self.streams.values()):
            self._send_stream(stream)

    def _send_stream(self, stream: SequenceStream) -> None:
        stream.is_submitted = True
        self._send(stream.resumption())

    def _note_queued(self, request_ids: list[int]) -> None:
        for request_id in request_ids:
            if stream := self.streams.get(request_id):
                stream.is_being_added = False

    def _distribute(self, outputs: StepOutputs) -> None:
        self._note_queued(outputs.queued)
        streams, begin, end = self.streams, outputs.begin, outputs.end
        for event in outputs.events:
            stream = streams.get(event.request_id)
            if stream is None:
                continue
            if isinstance(event, Generated):
                self.has_generated = True
            elif isinstance(event, Finished):
                self._remove(stream, event.reason)
                if error := _error_of(event):
                    stream.fail(error)
                    continue
            stream.push(event, begin, end)
        if not self._recovery.is_over:
            self._submit_due()
        if outputs.stats is not None:
            self._on_step(outputs.stats)


def _error_of(event: Finished) -> ApiError | None:
    """The client's error for the end of a sequence; None for an answer."""
    match event.reason:
        case FinishReason.REFUSED:
            return InvalidRequest(event.message)
        case FinishReason.FAILED:
            return EngineFailed(event.message)
    return None


def _changed(reply: Reply) -> SlotChanged:
    if isinstance(reply, SlotRefused):
        raise refused_slot(reply)
    assert isinstance(reply, SlotChanged)
    return reply


class _Link(asyncio.Protocol):
    """The connection to one engine: frames in, frames out."""

    def __init__(self, codec: Codec, on_message: Callable[[Message], None]) -> None:
        self._codec = codec
        self._on_message = on_message
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.disconnected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't inherit from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.disconnected.done():
            self.disconnected.set_result(None)

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            try:
                message = self._codec.decode_message(frame)
            except msgspec.MsgspecError:
                logger.exception("dropped a message of the engine that can't be read")
            else:
                self._on_message(message)

    def send(self, command: Command) -> None:
        """Write a command. If the engine is gone, the command is lost; the supervisor notices."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._codec.frame(command))

    def close(self) -> None:
        """Close the connection; commands that the engine has not read are lost."""
        if self._transport is not None:
            self._transport.abort()
