"""Who may change which models there are: pull, make, copy and delete them."""

from __future__ import annotations

import functools

from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.access.hosts import is_loopback
from server.errors import Forbidden
from server.pool.routing import Handler

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers by which a proxy on this machine says that the client is elsewhere."""


def check_may_change(request: Request) -> None:
    """Raise `Forbidden` unless this client may change the models.

    With keys, an admin's may. Without keys, programs of this machine may: whoever else reaches the
    server could fill its disk, or delete what is there.
    """
    key = access_record(request.scope).key
    if key is not None:
        key.check_admin()
        return
    client = request.client
    is_near = client is None or not client.host or is_loopback(client.host)
    if not is_near or any(name in request.headers for name in _FORWARDED):
        raise Forbidden(
            "models are changed from the server's own machine only, or with an admin's API key: "
            "start the server with --api-key"
        )


def changes_models(handler: Handler) -> Handler:
    """The handler, for clients that may change the models."""

    @functools.wraps(handler)
    async def checked(request: Request) -> Response:
        check_may_change(request)
        return await handler(request)

    return checked
