"""What goes wrong with stored models.

StoreError                a model can't be pulled, found, imported or removed
├── WebError              a server doesn't answer, or refuses
│   ├── Unreachable       no answer, or one that is cut short
│   └── Refused           an answer with an error's status
├── HostNotAllowed        the address is none that this pull may use
├── DiskFull              the file doesn't fit on the disk
├── WrongContent          what came is not what was asked for
├── PullCancelled         the pull was called off
├── UnknownModel          there is no model of this name
├── AmbiguousName         several models have this short name
└── NotOurs               the model belongs to another program
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from server.startup import ModelFileError

_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})


class StoreError(ModelFileError):
    """A model can't be pulled, found, imported or removed; the message is one line."""


class WebError(StoreError):
    """A server doesn't answer, or refuses."""

    is_temporary = True
    """Whether the same question may be answered later."""
    retry_after: float | None = None
    """Seconds that the server asks to wait, if it does."""


class Unreachable(WebError):
    """No answer, or one that is cut short; the message says why."""


class Refused(WebError):
    """An answer with an error's status."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str = "") -> None:
        super().__init__(text or f"status {status}")
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.is_temporary = status in _TEMPORARY
        self.retry_after = _seconds(self.headers.get("retry-after"))


class HostNotAllowed(StoreError):
    """The address is none that this pull may use."""


class DiskFull(StoreError):
    """The file doesn't fit on the disk."""


class WrongContent(StoreError):
    """What came is not what was asked for; it was deleted."""


class PullCancelled(StoreError):
    """The pull was called off."""


class UnknownModel(StoreError):
    """There is no model of this name."""


class AmbiguousName(StoreError):
    """Several models have this short name."""


class NotOurs(StoreError):
    """The model belongs to another program."""


def _seconds(retry_after: str | None) -> float | None:
    """The value of a Retry-After header, which is seconds or a date."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
