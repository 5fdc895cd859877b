"""`GET /kv_events/blocks`: the blocks of tokens that the cache holds, for routers that compare."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from protocol.blocks import Medium
from server.access.access_record import access_record
from server.app_state import state_of
from server.context import ServerContext
from server.errors import InvalidRequest, NotSupported
from server.http.json_response import JsonResponse


async def get_blocks(request: Request) -> Response:
    """The names of all blocks in each medium, after the event batch with this sequence number.

    Names are hexadecimal: many clients read no JSON numbers of 64 bits. On a server with several
    models the query names one; asking doesn't load it.
    """
    shared = state_of(request).context
    if shared.kv_events is None:
        raise NotSupported("this server was started without --kv-events-endpoint")
    context, held = _loaded(request), dict[Medium, list[int]]()
    if context is not None:
        held = (await context.engine.inspect_blocks()).held
    return JsonResponse(
        {
            "block_size": shared.settings.kv_events_block_size,
            "sequence": shared.kv_events.sequence,
            "blocks": {
                medium.value: [f"{name:016x}" for name in held.get(medium, ())] for medium in Medium
            },
        }
    )


def _loaded(request: Request) -> ServerContext | None:
    """The model that the request is about; None if it isn't loaded. Raises `NotFound`."""
    pool = state_of(request).pool
    if pool.only is not None:
        return pool.only
    name = request.query_params.get("model") or pool.default
    if name is None:
        raise InvalidRequest("'model' is required: this server has several", param="model")
    key = access_record(request.scope).key
    if key is not None:
        key.check_model(pool.find(name).names)
    return pool.loaded(name)
