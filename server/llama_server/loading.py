"""llama-server's routes for several models: load, unload, remove, and what happens to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import AccessRecord, access_record
from server.app_state import state_of
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest
from server.http.json_response import JsonResponse
from server.http.sse import EventStream, frame
from server.llama_server.listing import status_json
from server.pool.interface import ModelState, PoolEvent
from server.requests.body import read_body


class ModelName(RequestModel):
    """`POST /models`, `POST /models/load` and `POST /models/unload`."""

    model: Annotated[Label, Field(min_length=1)]


async def load_model(request: Request) -> Response:
    """Load a model, and answer once it is loaded."""
    pool, body = state_of(request).pool, await read_body(request, ModelName)
    if pool.find(body.model).state is ModelState.LOADED:
        raise InvalidRequest("model is already running", param="model")
    await pool.load(body.model)
    return JsonResponse({"success": True})


async def unload_model(request: Request) -> Response:
    """Unload a model, and answer once its memory is free. Running answers end first.

    A model that is being downloaded isn't any more.
    """
    pool, body = state_of(request).pool, await read_body(request, ModelName)
    if state_of(request).downloads.cancel(body.model):
        return JsonResponse({"success": True})
    if pool.find(body.model).state in (ModelState.UNLOADED, ModelState.FAILED):
        raise InvalidRequest("model is not running", param="model")
    await pool.unload(body.model)
    return JsonResponse({"success": True})


async def follow_models(request: Request) -> Response:
    """What happens to models, as server-sent events, until the client leaves."""
    seconds = state_of(request).context.settings.sse_ping_interval
    events = state_of(request).pool.subscribe()
    frames = _frames(events, access_record(request.scope))
    return EventStream(frames, AsyncExitStack(), ping_seconds=max(seconds, 0))


async def _frames(events: AsyncIterator[PoolEvent], access: AccessRecord) -> AsyncIterator[bytes]:
    async for event in events:
        names = frozenset({event.model}) if event.served is None else event.served.names
        if event.model == "*" or access.may_use(names):
            yield frame(event_json(event))


def event_json(event: PoolEvent) -> dict[str, Any]:
    """An event as llama-server writes it."""
    data = dict(event.data)
    if event.served is not None:
        status = status_json(event.served)
        kept = ("progress", "exit_code", "failed", "reason", "memory")
        data |= {"status": status["value"], **{k: status[k] for k in kept if k in status}}
    described: dict[str, Any] = {"model": event.model, "event": event.kind.value}
    return {**described, "data": data} if data else described
