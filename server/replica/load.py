"""`GET /load` and `GET /is_sleeping`: vLLM's questions of a router to a replica."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.http.json_response import JsonResponse


async def get_load(request: Request) -> Response:
    """How many sequences run or wait here."""
    return JsonResponse({"server_load": context_of(request).engine.num_sequences})


async def get_is_sleeping(request: Request) -> Response:
    """Whether the model's memory was given back, so that the next request has to load it."""
    return JsonResponse({"is_sleeping": False})
