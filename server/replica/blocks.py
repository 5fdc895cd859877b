"""`GET /kv_events/blocks`: the blocks of tokens that the cache holds, for routers that compare."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.errors import NotSupported
from server.http.json_response import JsonResponse


async def get_blocks(request: Request) -> Response:
    """The names of all blocks in each medium, after the event batch with this sequence number.

    Names are hexadecimal: many clients read no JSON numbers of 64 bits.
    """
    context = context_of(request)
    if context.kv_events is None:
        raise NotSupported("this server was started without --kv-events-endpoint")
    report = await context.engine.inspect_blocks()
    return JsonResponse(
        {
            "block_size": context.settings.kv_events_block_size,
            "sequence": context.kv_events.sequence,
            "blocks": {
                medium.value: [f"{name:016x}" for name in names]
                for medium, names in report.held.items()
            },
        }
    )
