"""Three probes: is the model loaded, is the process alive, does the server take requests?"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.errors import Unavailable
from server.http.json_response import JsonResponse

SILENCE_LIMIT = 120.0
"""Seconds without a heartbeat after which the engine counts as hung, if there is no watchdog.

The engine loop sends a heartbeat between two batches. On a slow CPU a batch takes several seconds.
"""

WATCHDOG_SECONDS = 15.0
"""Seconds that the watchdog has to replace a hung engine. Then the whole server counts as hung."""


async def health(request: Request) -> Response:
    """llama-server's probe: is the model loaded?"""
    _ = context_of(request).engine.model
    return JsonResponse({"status": "ok"})


async def livez(request: Request) -> Response:
    """Should the process keep running? No if the engine hangs or can't be started again."""
    context = context_of(request)
    if context.engine.outage:
        raise Unavailable(context.engine.outage)
    watched = context.settings.hang_timeout
    limit = watched + WATCHDOG_SECONDS if watched else SILENCE_LIMIT
    age = context.engine.heartbeat_age
    if age is not None and age > limit:
        raise Unavailable(f"the engine has not moved for {age:.0f} seconds")
    return JsonResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Should the server get new requests? Not while it loads or drains or its queue is full."""
    context = context_of(request)
    engine = context.engine
    num_waiting = engine.num_sequences - engine.model.n_slots
    if context.drain.has_begun or not engine.is_ready:
        raise Unavailable("the server takes no new requests")
    if num_waiting >= context.settings.max_queue:
        raise Unavailable("the queue is full")
    return JsonResponse({"status": "ok"})
