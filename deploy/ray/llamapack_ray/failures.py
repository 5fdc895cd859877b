"""What clients get when their replica is lost: an error in the words of their dialect."""

from __future__ import annotations

import json
from typing import Any

from llamapack_ray.call import Head

MESSAGE = "the replica that answered was lost; send the request again"
RETRY_AFTER = "1"


def refusal(path: str) -> tuple[Head, bytes]:
    """The answer to a request for which no replica was found."""
    body = _encoded(_error(path))
    headers = (
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("retry-after", RETRY_AFTER),
    )
    return Head(503, headers), body


def last_words(path: str, content_type: str) -> bytes | None:
    """What ends a stream whose replica was lost; None if such an answer can only be cut off."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-ndjson":
        return _encoded({"error": MESSAGE}) + b"\n"
    if kind != "text/event-stream":
        return None
    if path.endswith("/messages"):
        return b"event: error\ndata: " + _encoded(_error(path)) + b"\n\n"
    if path.endswith("/responses"):
        event = {"type": "error", "code": "server_error", "message": MESSAGE, "param": None}
        return b"event: error\ndata: " + _encoded(event) + b"\n\n"
    return b"data: " + _encoded(_error(path)) + b"\n\n"


def _error(path: str) -> dict[str, Any]:
    if path.endswith("/messages"):
        return {"type": "error", "error": {"type": "overloaded_error", "message": MESSAGE}}
    return {"error": {"code": 503, "message": MESSAGE, "type": "unavailable_error", "param": None}}


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
