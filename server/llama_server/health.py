"""Three probes: is the model loaded, is the process alive, does the server take requests?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.context import ServerContext
from server.errors import NotFound, Unavailable
from server.http.json_response import JsonResponse
from server.pool.interface import ModelPool, ModelState

SILENCE_LIMIT = 120.0
"""Seconds without a heartbeat after which the engine counts as hung, if there is no watchdog.

The engine loop sends a heartbeat between two batches. On a slow CPU a batch takes several seconds.
"""

WATCHDOG_SECONDS = 15.0
"""Seconds that the watchdog has to replace a hung engine. Then the whole server counts as hung."""

OK = {"status": "ok"}


async def health(request: Request) -> Response:
    """llama-server's probe: is the model loaded? Of several, the one that the query names."""
    pool = state_of(request).pool
    asked = request.query_params.get("model")
    if pool.only is not None:
        _ = pool.only.engine.model
    elif asked:
        _check_model(pool, asked)
    else:
        _check_first_load(pool)
    return JsonResponse(OK)


def _check_model(pool: ModelPool, name: str) -> None:
    """Raise `Unavailable` unless the model is loaded. Nobody learns other models' names here:
    probes need no key."""
    try:
        served = pool.find(name)
    except NotFound:
        raise NotFound(f"there is no model {name[:100]!r} here", param="model") from None
    if pool.loaded(name) is None:
        raise Unavailable(f"the model is {served.state.value}")


def _check_first_load(pool: ModelPool) -> None:
    """Raise `Unavailable` while the one model of a server was never loaded."""
    if pool.default is not None:
        served = pool.find(pool.default)
        if served.state in (ModelState.LOADING, ModelState.FAILED) and served.last_used is None:
            raise Unavailable(served.failure or "Loading model")


async def livez(request: Request) -> Response:
    """Should the process keep running? No if the engine hangs or can't be started again.

    Of several engines, the server replaces each by itself.
    """
    context = state_of(request).pool.only
    if context is not None:
        _check_engine(context)
    return JsonResponse(OK)


def _check_engine(context: ServerContext) -> None:
    if context.engine.outage:
        raise Unavailable(context.engine.outage)
    watched = context.settings.hang_timeout
    limit = watched + WATCHDOG_SECONDS if watched else SILENCE_LIMIT
    age = context.engine.heartbeat_age
    if age is not None and age > limit:
        raise Unavailable(f"the engine has not moved for {age:.0f} seconds")


async def readyz(request: Request) -> Response:
    """Should the server get new requests? Not while it loads, drains, or has no engine.

    A full queue changes nothing: its 429 tells clients and routers when to come again. If every
    replica said no here, a Service would have no endpoint, and clients would get a refused
    connection instead. A server with several models takes requests while none is loaded.
    """
    context = state_of(request).pool.only
    if state_of(request).context.drain.has_begun:
        raise Unavailable("the server takes no new requests")
    if context is not None:
        _check_taken(context)
    else:
        _check_first_load(state_of(request).pool)
    return JsonResponse(OK)


def _check_taken(context: ServerContext) -> None:
    _ = context.engine.model
    if not context.engine.is_ready:
        raise Unavailable("the server takes no new requests")
