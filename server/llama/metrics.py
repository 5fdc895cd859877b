"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.engine_facts import EngineFacts
from server.errors import NotSupported
from server.exposition import page


async def get_metrics(request: Request) -> Response:
    """All counters in Prometheus' text format, or in OpenMetrics' if that is asked for."""
    context = context_of(request)
    if not context.settings.metrics:
        raise NotSupported("this server was started without --metrics")
    accept = request.headers.get("accept", "")
    body, content_type = page(context.metrics, EngineFacts.of(context), accept)
    headers = {
        "Process-Start-Time-Unix": str(context.created),
        "Content-Type": content_type,
        "Vary": "Accept",
    }
    return Response(body, headers=headers)
