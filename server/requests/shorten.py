"""Shortens what a request asks until its prompt fits into the context, where it may."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from server.errors import ContextExceeded

_SHARE = 0.75
"""Share of the context that a shortened prompt may fill; the answer needs room too."""

AskedT = TypeVar("AskedT")
PlanT = TypeVar("PlanT")


def shortened_to_fit(
    asked: AskedT,
    plan: Callable[[AskedT], PlanT],
    shorter: Callable[[AskedT, float], AskedT | None],
) -> PlanT:
    """The plan of what was asked, or of as much of it as fits.

    `shorter` has about the given share of what was asked; None if nothing may be left out. Then
    `ContextExceeded` is raised.
    """
    while True:
        try:
            return plan(asked)
        except ContextExceeded as error:
            less = shorter(asked, _SHARE * error.n_ctx / error.n_prompt_tokens)
            if less is None:
                raise
            asked = less
