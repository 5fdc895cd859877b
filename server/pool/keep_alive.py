"""How long a model stays, as clients write it: seconds, or Ollama's durations."""

from __future__ import annotations

import math
import re

from server.errors import InvalidRequest
from server.pool.interface import FOR_EVER

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_MOST_CHARS = 100
_MOST_SECONDS = 1e9


def keep_alive_seconds(value: object, *, param: str = "keep_alive") -> float:
    """Seconds from a number or a text such as `90`, `5m`, `1h30m`; below 0 means for ever.

    Raises `InvalidRequest` that names `param`.
    """
    seconds = _seconds(value)
    if seconds is None:
        raise InvalidRequest(
            f"'{param}' must be a number of seconds or a duration such as \"5m\"", param=param
        )
    return FOR_EVER if seconds < 0 or seconds > _MOST_SECONDS else seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > _MOST_CHARS:
        return None
    text = value.strip()
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return -total if text.startswith("-") else total
