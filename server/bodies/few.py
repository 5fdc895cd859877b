"""A validator that refuses a long list before any of its items is looked at."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator

from server.bodies.bounds import Bound


def few(bound: Bound) -> BeforeValidator:
    """The validator for a list or an object of at most so many items."""

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) and len(value) > bound.most:
            raise ValueError(f"must have {bound.most} or fewer items")
        return value

    return BeforeValidator(check)
