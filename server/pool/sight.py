"""Which models a request sees: those that its key may use. Lists and look-ups keep this rule."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from server.access.access_record import access_record
from server.app_state import state_of
from server.errors import NotFound
from server.pool.interface import ServedModel
from server.pool.names import no_such_model


def models_in_sight(request: Request) -> Sequence[ServedModel]:
    """The models that the request's key may use, in the order of their names."""
    access = access_record(request.scope)
    return [one for one in state_of(request).pool.models() if access.may_use(one.names)]


def find_in_sight(request: Request, name: str) -> ServedModel:
    """The model of this name. Raises `NotFound`, also if the key may not use it."""
    served = find_named(request, name)
    if not access_record(request.scope).may_use(served.names):
        raise _not_in_sight(request, name)
    return served


def find_named(request: Request, name: str) -> ServedModel:
    """The model of this name, in sight or not. Raises `NotFound`, which names what is in sight."""
    try:
        return state_of(request).pool.find(name)
    except NotFound:
        raise _not_in_sight(request, name) from None


def _not_in_sight(request: Request, name: str) -> NotFound:
    return no_such_model(name, [one.name for one in models_in_sight(request)])
