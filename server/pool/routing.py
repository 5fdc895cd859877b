"""Finds out which model a request is about, and keeps the model loaded until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.access.access_record import access_record
from server.app_state import state_of
from server.context import serve_by
from server.errors import InvalidRequest
from server.http.disconnect import stop, while_connected
from server.http.json_body import decode_json, read_bytes
from server.http.large_bodies import lane_for
from server.pool.early_stream import EarlyStream
from server.pool.interface import ModelPool, ModelState
from server.pool.keep_alive import MOST_SECONDS, keep_alive_seconds
from server.pool.sight import find_named

SILENT_SECONDS = 2.0
"""How long a client hears nothing while its model is loaded."""

PING_SECONDS = 5.0
"""The longest time between two pings then."""

Handler = Callable[[Request], Awaitable[Response]]
Answer = Callable[[], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ModelSelection:
    """What a request says about the model that is to answer."""

    model: str
    """"" if it names none."""
    keep_alive: float | None = None
    is_stream: bool = False


class _Named(msgspec.Struct):
    """The fields of any body that are about the model."""

    model: Any = None
    keep_alive: Any = None
    ttl: Any = None
    stream: Any = None


def for_model(handler: Handler, *, may_stream: bool = False) -> Handler:
    """The handler, with the model that its requests name loaded and set as what serves them.

    If answers may be streams of events, those that are asked for begin while the model is loaded.

    On a server with one model, the handler itself: its requests need not be read to know. A
    request that names no model reaches the handler without one.
    """

    async def with_model(request: Request) -> Response:
        pool = state_of(request).pool
        if pool.only is not None:
            _check_query(request, pool)
            return await handler(request)
        data = bytearray() if request.method in ("GET", "HEAD") else await read_bytes(request)
        selection = await _selection(request, data)
        read = _already_read(request, data)
        if not selection.model:
            if pool.default is None:
                return await handler(read)
            if request.method in ("GET", "HEAD"):
                return await _without_waking(read, pool.default, handler)
        answer = partial(handler, read)
        if may_stream and selection.is_stream:
            return await _streamed(request, pool, selection, answer)
        return await _leased(request, pool, selection, answer)

    return with_model


def _may_load(request: Request, pool: ModelPool) -> bool:
    asked = request.query_params.get("autoload")
    return pool.autoloads if not asked else asked in ("true", "1")


def _check_query(request: Request, pool: ModelPool) -> None:
    """Raise `NotFound` if the query of a strict server's request names another model."""
    asked = request.query_params.get("model")
    if asked and pool.only is not None and pool.only.settings.strict_model:
        pool.find(asked)


async def _without_waking(request: Request, name: str, handler: Handler) -> Response:
    """The handler's answer. A model that sleeps stays asleep, and the handler has none."""
    context = state_of(request).pool.loaded(name)
    if context is not None:
        serve_by(request, context)
    return await handler(request)


async def _streamed(
    request: Request, pool: ModelPool, selection: ModelSelection, answer: Answer
) -> Response:
    """The handler's answer, or a stream that begins before it, if the model isn't there soon."""
    shared, is_leased = state_of(request).context, asyncio.Event()
    ping_seconds = min(shared.settings.sse_ping_interval, PING_SECONDS)
    if ping_seconds <= 0:
        return await _leased(request, pool, selection, answer)
    work = asyncio.ensure_future(_leased(request, pool, selection, answer, is_leased))
    leased = asyncio.ensure_future(is_leased.wait())
    try:
        await asyncio.wait(
            (work, leased), timeout=SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if work.done() or leased.done():
            return await work
    except BaseException:
        await stop(work)
        raise
    finally:
        leased.cancel()
    error_frame = partial(state_of(request).error_frame, request.url.path)
    return EarlyStream(work, ping_seconds, error_frame, shared.metrics.observe_rejection)


async def _leased(
    request: Request,
    pool: ModelPool,
    selection: ModelSelection,
    answer: Answer,
    is_leased: asyncio.Event | None = None,
) -> Response:
    """The handler's answer; the model is let go once the answer was sent.

    Only an admin's key may make a model stay for ever, or go earlier than it would.
    """
    access = access_record(request.scope)
    served = find_named(request, selection.model)
    access.check_model(served.names)
    if not _may_load(request, pool) and served.state not in (ModelState.LOADED, ModelState.LOADING):
        raise InvalidRequest("model is not loaded", param="model")
    stay = selection.keep_alive
    if stay is not None and not access.is_admin:
        stay = min(max(stay, served.keep_alive), MOST_SECONDS)
    lease = pool.lease(selection.model, access.tenant, stay)
    async with AsyncExitStack() as resources:
        entering = resources.enter_async_context(lease)
        serve_by(request, await while_connected(request.receive, entering))
        if is_leased is not None:
            is_leased.set()
        return _Held(await answer(), resources.pop_all())


async def _selection(request: Request, data: bytearray) -> ModelSelection:
    """What the query or the body say. Raises `InvalidRequest`."""
    query = request.query_params
    fields: Mapping[str, Any] = query
    if "model" not in query and data:
        lane = lane_for(data)
        owner = access_record(request.scope).tenant
        read = partial(_fields, data)
        fields = read() if lane is None else await lane.run(owner, read)
    model = fields.get("model")
    model = "" if model is None else model
    if not isinstance(model, str):
        raise InvalidRequest("'model' must be a string", param="model")
    names = [name for name in ("keep_alive", "ttl") if fields.get(name) is not None]
    stay = keep_alive_seconds(fields[names[0]], param=names[0]) if names else None
    return ModelSelection(model, stay, fields.get("stream") is True)


def _fields(data: bytearray) -> dict[str, Any]:
    """The fields that are about the model. Raises `InvalidRequest` as the body's reader does."""
    try:
        return msgspec.structs.asdict(msgspec.json.decode(data, type=_Named))
    except msgspec.ValidationError:
        raise InvalidRequest("the body must be a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_json(data)  # says where the error is
        raise InvalidRequest("the body is not valid JSON") from None


def _already_read(request: Request, data: bytearray) -> Request:
    """The request with its body to be read once more."""
    held = [data]

    async def receive() -> Message:
        if held:
            return {"type": "http.request", "body": held.pop(), "more_body": False}
        return await request.receive()

    return Request(request.scope, receive)


class _Held(Response):
    """A response that frees `resources` once it was sent, however that ends."""

    def __init__(self, response: Response, resources: AsyncExitStack) -> None:
        self._response = response
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            await self._resources.aclose()
