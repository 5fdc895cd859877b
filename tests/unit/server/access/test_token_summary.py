"""What the request log says of a request's answers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from server.access.access_record import access_record
from server.access.token_summary import token_summary


def summary_of(monkeypatch: pytest.MonkeyPatch, now: float, **fields: Any) -> str:
    scope: dict[str, Any] = {"type": "http"}
    record = access_record(scope)
    for name, value in {"started": 100.0, **fields}.items():
        setattr(record, name, value)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    return token_summary(scope)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"prompt_tokens": 9}, "9 tokens in"),
        ({"prompt_tokens": 1, "cached_tokens": 1}, "1 token in (1 cached)"),
        (
            {"prompt_tokens": 9, "generated_tokens": 1, "first_token": 100.25},
            "9 tokens in, 1 out, first after 250.0 ms",
        ),
        (
            {
                "prompt_tokens": 9,
                "cached_tokens": 4,
                "generated_tokens": 41,
                "first_token": 100.5,
            },
            "9 tokens in (4 cached), 41 out, first after 500.0 ms, then 20.0/s",
        ),
    ],
)
def test_a_summary_says_what_is_known(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], expected: str
) -> None:
    assert summary_of(monkeypatch, 102.5, **fields) == expected


def test_tokens_that_came_at_once_have_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"prompt_tokens": 2, "generated_tokens": 5, "first_token": 101.0}
    assert summary_of(monkeypatch, 101.0, **fields) == "2 tokens in, 5 out, first after 1000.0 ms"
