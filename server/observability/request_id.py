"""The request id, which answers, logs and proxies share."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

HEADER = b"x-request-id"

current_request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that this task works for; log lines carry the id."""

# The characters that proxies and tracing libraries send; others could forge log lines.
_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


def choose_request_id(given: bytes | None) -> str:
    """The client's id if it is harmless, else a new one of 32 hexadecimal digits."""
    if given is not None and _SANE.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(16)
