"""The query of `GET /v1/responses/{id}`: whether its events are streamed, and from which one on."""

from __future__ import annotations

from collections.abc import Mapping

from server.endpoints import Query
from server.errors import InvalidRequest

QUERY = (
    Query("stream", "Whether the events of a background response are sent.", ("true", "false")),
    Query("starting_after", "The number of the last event that the client has; needs `stream`."),
)

_MAX_DIGITS = 9


def first_event(query: Mapping[str, str]) -> int | None:
    """The number of the first event to send; None if the response itself is asked for.

    Raises `InvalidRequest`.
    """
    stream, after = query.get("stream", "false"), query.get("starting_after")
    if stream not in ("true", "false"):
        raise InvalidRequest("'stream' must be true or false", param="stream")
    if after is None:
        return 0 if stream == "true" else None
    if not (after.isascii() and after.isdigit() and len(after) <= _MAX_DIGITS):
        message = f"'starting_after' must be a whole number of at most {_MAX_DIGITS} digits"
        raise InvalidRequest(message, param="starting_after")
    if stream != "true":
        message = "'starting_after' needs 'stream' to be true"
        raise InvalidRequest(message, param="starting_after")
    return int(after) + 1
