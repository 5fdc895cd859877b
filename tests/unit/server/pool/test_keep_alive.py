"""How long a model stays, as clients write it."""

from __future__ import annotations

import pytest

from server.errors import InvalidRequest
from server.pool.interface import FOR_EVER
from server.pool.keep_alive import keep_alive_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (90, 90.0),
        (2.5, 2.5),
        ("0", 0.0),
        ("45", 45.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("500ms", 0.5),
        (-1, FOR_EVER),
        ("-1", FOR_EVER),
        ("-1m", FOR_EVER),
        (1e12, FOR_EVER),
        ("90000000h", FOR_EVER),
    ],
)
def test_seconds_and_durations_are_read(value: object, seconds: float) -> None:
    assert keep_alive_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "soon", "5 minutes", "m5", "1h30", True, [], {}, float("nan"), "1" * 200]
)
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidRequest, match="'ttl' must be a number of seconds") as caught:
        keep_alive_seconds(value, param="ttl")
    assert caught.value.param == "ttl"
