"""Prepares requests in threads: fairly, and only while the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

from anyio import to_thread
from starlette.requests import Request

from confined.turns import Crowded
from confined.work import Work, working_for
from server.access.access_record import access_record
from server.app_state import state_of
from server.errors import Overloaded
from server.http.disconnect import while_connected
from server.http.large_bodies import Lane, noted_lane
from server.http.places import Place, Places

RETRY_SECONDS = 2
"""About the time of one piece of slow work."""

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


async def in_thread(
    request: Request,
    function: Callable[[*ArgumentsT], ResultT],
    *arguments: *ArgumentsT,
    is_structured: bool = False,
) -> ResultT:
    """The result of a function that blocks. The body must have been read.

    Requests whose answers are constrained (`is_structured`) have places of their own, so that
    others never wait for them. If the client leaves, a wait ends and confined processes that work
    for the request are ended. Raises `Overloaded` if too much slow work waits, `ClientDisconnect`,
    and what the function raises.
    """
    shared = state_of(request).context
    places = shared.structured_places if is_structured else shared.plain_places
    tenant = access_record(request.scope).tenant
    call = partial(function, *arguments)
    called = _called(call, places, tenant, noted_lane(request.scope))
    return await while_connected(request.receive, called)


async def _called(
    call: Callable[[], ResultT], places: Places, tenant: str, lane: Lane | None
) -> ResultT:
    place = await places.take(tenant)
    loop = asyncio.get_running_loop()
    # Slow work waits elsewhere, and its number is bounded there.
    work = Work(tenant, on_slow=partial(loop.call_soon_threadsafe, place.leave))
    if lane is not None:
        call = partial(lane.compute, work, call)
    with working_for(work):
        thread = asyncio.ensure_future(to_thread.run_sync(call, limiter=places.threads))
    thread.add_done_callback(partial(_ended, place))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        work.cancel()
        raise
    except Crowded:
        raise Overloaded(
            "too many requests are slow to prepare; try again later",
            retry_after=RETRY_SECONDS,
            reason="slow_work",
        ) from None


def _ended(place: Place, thread: asyncio.Future[ResultT]) -> None:
    """Free the place. The error of work that was called off is nobody's any more."""
    place.leave()
    if not thread.cancelled():
        thread.exception()
