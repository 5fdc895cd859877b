"""Errors in Anthropic's shape, with its status codes."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from server.errors import ApiError, ContextExceeded, Overloaded
from server.http.json_response import JsonResponse, encode_json
from server.observability.request_id import current_request_id

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's types, by status; any other status is an `api_error`."""

_OVERLOADED = 529
_OWN_LIMIT = "rate_limit"
"""The reason of errors about a key's own limits."""


def status_of(error: ApiError) -> int:
    """429 tells a client about its own limits. If the whole server is full, it is 529."""
    if isinstance(error, Overloaded) and error.reason != _OWN_LIMIT:
        return _OVERLOADED
    return error.status


def error_body(error: ApiError) -> dict[str, Any]:
    """The JSON body, for a response or for a stream's error event."""
    return {
        "type": "error",
        "error": {"type": _KINDS.get(status_of(error), "api_error"), "message": _message(error)},
        "request_id": current_request_id.get(),
    }


def error_response(error: ApiError) -> Response:
    """The response for an error."""
    headers = {**error.headers, "request-id": current_request_id.get()}
    return JsonResponse(error_body(error), status_code=status_of(error), headers=headers)


def error_frame(error: ApiError) -> bytes:
    """The event that ends a stream which failed before its first event."""
    return b"event: error\ndata: %s\n\n" % encode_json(error_body(error))


def _message(error: ApiError) -> str:
    if isinstance(error, ContextExceeded):
        # Clients look for these words, and shorten the conversation.
        return f"prompt is too long: {error.n_prompt_tokens} tokens > {error.n_ctx} maximum"
    return error.message
