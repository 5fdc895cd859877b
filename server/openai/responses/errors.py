"""Errors of responses: OpenAI's shape, with the codes that its clients act on."""

from __future__ import annotations

from starlette.responses import Response

from server.errors import (
    ApiError,
    ContextExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from server.http.json_response import JsonResponse, encode_json

_CODES: tuple[tuple[type[ApiError], str], ...] = (
    (ContextExceeded, "context_length_exceeded"),
    (InvalidRequest, "invalid_prompt"),
    (NotFound, "not_found"),
    (Overloaded, "rate_limit_exceeded"),
    (Unavailable, "server_is_overloaded"),
)


def error_code(error: ApiError) -> str:
    """The word for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), "server_error")


def error_response(error: ApiError) -> Response:
    """The response for an error."""
    body = error.body()
    body["error"]["code"] = error_code(error)
    return JsonResponse(body, status_code=error.status, headers=error.headers)


def error_frame(error: ApiError) -> bytes:
    """The event that ends a stream which failed before its first event."""
    described = {"code": error_code(error), "message": error.message, "param": error.param}
    event = {"type": "error", "sequence_number": 0, **described}
    return b"event: error\ndata: %s\n\n" % encode_json(event)
