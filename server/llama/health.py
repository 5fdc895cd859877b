"""Whether the server has its model, is alive, and takes work: three different questions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.errors import Unavailable
from server.json_response import JsonResponse

SILENCE_LIMIT = 60.0
"""Seconds between two turns of the engine loop after which it counts as hung.

A turn lasts as long as one batch takes to decode, which on a slow CPU is several seconds.
"""


async def health(request: Request) -> Response:
    """llama-server's question: is the model loaded?"""
    _ = context_of(request).engine.model
    return JsonResponse({"status": "ok"})


async def livez(request: Request) -> Response:
    """Should the process be left running? Yes while it loads, no once the engine hangs."""
    age = context_of(request).engine.heartbeat_age
    if age is not None and age > SILENCE_LIMIT:
        raise Unavailable(f"the engine has not moved for {age:.0f} seconds")
    return JsonResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Should it get new requests? Not while it loads or drains."""
    context = context_of(request)
    _ = context.engine.model
    if context.drain.has_begun or not context.engine.is_ready:
        raise Unavailable("the server takes no new requests")
    return JsonResponse({"status": "ok"})
