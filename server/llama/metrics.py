"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.errors import NotSupported
from server.metrics import CONTENT_TYPE


async def get_metrics(request: Request) -> Response:
    """All counters in Prometheus' text format."""
    context = context_of(request)
    if not context.settings.metrics:
        raise NotSupported("this server was started without --metrics")
    headers = {"Process-Start-Time-Unix": str(context.created)}
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE, headers=headers)
