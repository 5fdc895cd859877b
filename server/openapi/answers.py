"""The answers of an endpoint: its own answer, and errors of `server.errors`."""

from __future__ import annotations

from typing import Any

from server import errors
from server.endpoints import JSON, PLAIN_TEXT, Endpoint
from server.errors import ApiError

Json = dict[str, Any]

_READING = (errors.Unauthenticated, errors.EngineFailed, errors.NotSupported, errors.Unavailable)
_POSTING = (
    errors.InvalidRequest,
    errors.Forbidden,
    errors.BodyTooLarge,
    errors.Overloaded,
    errors.TimedOut,
)
_ALL: tuple[type[ApiError], ...] = (*_READING, *_POSTING, errors.NotFound)

_SCHEMAS: Json = {JSON: {"type": ["object", "array"]}, PLAIN_TEXT: {"type": "string"}}
"""Schemas by media type; the events of a stream depend on the dialect."""

_TEXTS = {
    "limit-requests": ("Requests that the key may send a minute.", "integer"),
    "remaining-requests": ("Requests that are left.", "integer"),
    "reset-requests": ("Time until all requests are back, such as 1m30s.", "string"),
    "limit-tokens": ("Tokens that the key may use a minute.", "integer"),
    "remaining-tokens": ("Tokens that are left.", "integer"),
    "reset-tokens": ("Time until all tokens are back, such as 1m30s.", "string"),
}
RATE_HEADERS: Json = {
    f"x-ratelimit-{name}": {"description": text, "schema": {"type": kind}}
    for name, (text, kind) in _TEXTS.items()
}
"""Sent only in answers to a key that has such a limit."""

_ERROR_SCHEMA: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": ["object", "string"],
            "description": "In Ollama's API the message alone.",
            "required": ["message", "type"],
            "properties": {
                "code": {"type": ["integer", "string"], "description": "The status, or a word."},
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The path to the field."},
            },
        }
    },
}


def answers(endpoint: Endpoint, method: str, *, has_parameters: bool) -> Json:
    """The `responses` of one operation."""
    kinds: tuple[type[ApiError], ...] = _READING
    if method == "POST":
        kinds += (*_POSTING, errors.NotFound)
    elif has_parameters:
        kinds += (errors.NotFound,)
    refused = {str(kind.status): _ref("responses", kind.__name__) for kind in kinds}
    return {"200": _success(endpoint)} | dict(sorted(refused.items()))


def error_answers() -> Json:
    """The error responses of the components, by the names of their classes."""
    return {kind.__name__: _error_answer(kind) for kind in _ALL}


def _success(endpoint: Endpoint) -> Json:
    content = {media: {"schema": _SCHEMAS.get(media, {})} for media in endpoint.media}
    headers = {name: _ref("headers", name) for name in RATE_HEADERS}
    return {"description": "The answer.", "content": content, "headers": headers}


def _error_answer(kind: type[ApiError]) -> Json:
    description = (kind.__doc__ or kind.__name__).partition("\n")[0]
    answer: Json = {
        "description": description,
        "content": {JSON: {"schema": _ERROR_SCHEMA}},
        "headers": {name: _ref("headers", name) for name in RATE_HEADERS},
    }
    if kind is errors.Overloaded:
        seconds = {"type": "integer", "minimum": 1}
        text = "Seconds after which to try again."
        answer["headers"] = {"Retry-After": {"description": text, "schema": seconds}} | answer[
            "headers"
        ]
    return answer


def _ref(section: str, name: str) -> Json:
    return {"$ref": f"#/components/{section}/{name}"}
