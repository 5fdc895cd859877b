"""How long a model stays, as clients write it: seconds, or Ollama's durations."""

from __future__ import annotations

from config.durations import seconds_of
from server.errors import InvalidRequest
from server.pool.interface import FOR_EVER

MOST_SECONDS = 1e9
"""Above this, a duration means for ever."""


def keep_alive_seconds(value: object, *, param: str = "keep_alive") -> float:
    """Seconds from a number or a text such as `90`, `5m`, `1h30m`; below 0 means for ever.

    Raises `InvalidRequest` that names `param`.
    """
    seconds = seconds_of(value)
    if seconds is None:
        raise InvalidRequest(
            f"'{param}' must be a number of seconds or a duration such as \"5m\"", param=param
        )
    return FOR_EVER if seconds < 0 or seconds > MOST_SECONDS else seconds
