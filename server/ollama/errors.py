"""Errors in Ollama's shape, with its status codes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from server.errors import ApiError, Overloaded
from server.http.json_response import JsonResponse

BUSY = "server busy, please try again.  maximum pending requests exceeded"
"""Ollama's own words, which clients look for."""

_OWN_LIMIT = "rate_limit"
"""The reason of errors about a key's own limits."""


def status_of(error: ApiError) -> int:
    """429 tells a client about its own limits. If the whole server is full, it is 503."""
    return 503 if _is_full(error) else error.status


def error_body(error: ApiError) -> dict[str, Any]:
    """The JSON value, for a response or for the last line of a stream."""
    shown = error.body()["error"]["message"]
    return {"error": BUSY if _is_full(error) else shown}


def error_response(error: ApiError) -> Response:
    """The response for an error."""
    return JsonResponse(error_body(error), status_code=status_of(error), headers=error.headers)


def _is_full(error: ApiError) -> bool:
    return isinstance(error, Overloaded) and error.reason != _OWN_LIMIT
