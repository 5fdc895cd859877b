"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.sight import sees
from server.context import ServerContext, context_of
from server.errors import NotSupported, Unavailable
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import render_metrics
from server.observability.gpus import Gpu


async def get_metrics(request: Request) -> Response:
    """All counters in Prometheus' text format, or in OpenMetrics' format if the client asks."""
    context = context_of(request)
    if not context.settings.metrics:
        raise NotSupported("this server was started without --metrics")
    accept = request.headers.get("accept", "")
    engine = _engine_snapshot(context, await context.metrics.gpus.read())
    body, content_type = render_metrics(
        context.metrics, engine, accept, shows=lambda key: sees(request, key)
    )
    headers = {
        "Process-Start-Time-Unix": str(context.created),
        "Content-Type": content_type,
        "Vary": "Accept",
    }
    return Response(body, headers=headers)


def _engine_snapshot(context: ServerContext, gpus: tuple[Gpu, ...]) -> EngineSnapshot:
    engine = context.engine
    try:
        n_slots, n_ctx = engine.model.n_slots, engine.model.n_ctx
    except Unavailable:
        n_slots = n_ctx = 0
    draining = context.drain.has_begun
    return EngineSnapshot(engine.is_ready, draining, n_slots, n_ctx, engine.heartbeat_age, gpus)
