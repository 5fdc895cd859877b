"""`GET /`: what answers here, for browsers and for probes that know no other path."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import shared_of
from server.http.json_response import JsonResponse


async def get_root(request: Request) -> Response:
    """The server's name, and the paths of its description and of its probe."""
    prefix = shared_of(request).settings.api_prefix
    return JsonResponse(
        {"server": "llamapack", "api": f"{prefix}/openapi.json", "health": f"{prefix}/health"}
    )
