"""`GET /load` and `GET /is_sleeping`: vLLM's questions of a router to a replica."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.http.json_response import JsonResponse
from server.pool.interface import ModelState


async def get_load(request: Request) -> Response:
    """How many sequences run or wait here, of all models."""
    return JsonResponse({"server_load": sum(m.num_users for m in state_of(request).pool.models())})


async def get_is_sleeping(request: Request) -> Response:
    """Whether every model's memory was given back, so that the next request has to load it."""
    states = [model.state for model in state_of(request).pool.models()]
    is_sleeping = bool(states) and all(state is ModelState.SLEEPING for state in states)
    return JsonResponse({"is_sleeping": is_sleeping})
