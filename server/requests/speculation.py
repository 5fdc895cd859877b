"""The drafts that a request gets, from its fields and the server's settings."""

from __future__ import annotations

from collections.abc import Sequence

from config import ServeSettings
from protocol.commands import DraftBounds, DraftMethod, Speculation
from server.engine.config import method_bounds
from server.errors import InvalidRequest


def speculation_of(
    settings: ServeSettings,
    *,
    methods: Sequence[str] | None = None,
    n_max: int | None = None,
    n_min: int | None = None,
    p_min: float | None = None,
) -> Speculation | None:
    """The speculative decoding of a request with these fields; None means no drafts.

    `n_max` lowers the bound of each method and never raises it. `n_min` replaces the bound of each
    method. Raises `InvalidRequest` for a method that the server was not started with, and for
    bounds that exclude each other.
    """
    offered = method_bounds(settings)
    _check(methods, offered, n_max, n_min)
    bounds = {
        method: _narrowed(own, n_max, n_min)
        for method, own in offered.items()
        if methods is None or method in methods
    }
    bounds = {method: own for method, own in bounds.items() if own.n_max >= max(own.n_min, 1)}
    if not bounds:
        return None
    widest = DraftBounds(
        max(own.n_max for own in bounds.values()), min(own.n_min for own in bounds.values())
    )
    return Speculation(
        methods=tuple(bounds),
        n_max=widest.n_max,
        n_min=widest.n_min,
        p_min=settings.spec_draft_p_min if p_min is None else p_min,
        own_bounds={method: own for method, own in bounds.items() if own != widest},
    )


def _narrowed(own: DraftBounds, n_max: int | None, n_min: int | None) -> DraftBounds:
    most = own.n_max if n_max is None else min(n_max, own.n_max)
    return DraftBounds(most, own.n_min if n_min is None else n_min)


def _check(
    methods: Sequence[str] | None,
    offered: dict[DraftMethod, DraftBounds],
    n_max: int | None,
    n_min: int | None,
) -> None:
    for method in methods or ():
        if method not in offered:
            started = ", ".join(offered) or "none"
            message = f"'spec_type' asks for {method}, but this server was started with {started}"
            raise InvalidRequest(message, param="spec_type")
    if n_min is not None and n_max is not None and n_min > n_max > 0:
        message = f"'spec_n_min' must be at most 'spec_n_max' ({n_max}, got {n_min})"
        raise InvalidRequest(message, param="spec_n_min")
