"""`GET /`: what answers here, for browsers and for probes that know no other path."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from server.app_state import state_of
from server.http.json_response import JsonResponse

_RUNNING = "Ollama is running"
"""What Ollama's clients, and scripts that wait for it, look for."""


async def get_root(request: Request) -> Response:
    """The server's name, and the paths of its description and of its probe.

    Programs that ask for no media type get Ollama's answer.
    """
    wanted = request.headers.get("accept", "")
    if "text/html" not in wanted and "application/json" not in wanted:
        return PlainTextResponse(_RUNNING)
    prefix = state_of(request).context.settings.api_prefix
    return JsonResponse(
        {"server": "llamapack", "api": f"{prefix}/openapi.json", "health": f"{prefix}/health"}
    )
