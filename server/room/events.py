"""`GET /v1/events`: what happens in the server, for its page and for whoever else watches."""

from __future__ import annotations

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.app_state import state_of
from server.errors import Forbidden, NotSupported
from server.http.sse import EventStream


async def get_events(request: Request) -> Response:
    """Slots, queue, cache, steps and requests as they change. With keys, an admin's key is needed.

    The stream begins with a snapshot; each update has what changed since.
    """
    _check_rights(request)
    settings = state_of(request).context.settings
    if not settings.slots:
        raise NotSupported("this server was started with --no-slots")
    room = state_of(request).room
    async with AsyncExitStack() as resources:
        resources.enter_context(room.enter())
        return EventStream(
            room.frames(), resources.pop_all(), ping_seconds=settings.sse_ping_interval
        )


def _check_rights(request: Request) -> None:
    """Raise `Forbidden` for a key that is no admin's: the stream tells of everybody's requests."""
    key = access_record(request.scope).key
    if key is not None and not key.is_admin:
        raise Forbidden(f"the key {key.name!r} may not watch the server; an admin's key may")
