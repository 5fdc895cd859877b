"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.access.sight import sees
from server.context import ServerContext, SharedContext, shared_of
from server.errors import NotSupported, Unavailable
from server.observability.engine_snapshot import EngineSnapshot
from server.observability.exposition import Counted, render_all, render_metrics
from server.observability.gpus import Gpu
from server.pool.routing import pool_of


async def get_metrics(request: Request) -> Response:
    """All counters in Prometheus' text format, or in OpenMetrics' format if the client asks.

    On a server with several models, `?model=` leaves out the others. It loads none.
    """
    shared = shared_of(request)
    if not shared.settings.metrics:
        raise NotSupported("this server was started without --metrics")
    accept = request.headers.get("accept", "")
    gpus = await shared.metrics.gpus.read()
    context = pool_of(request).only

    def shows(key: str) -> bool:
        return sees(request, key)

    if context is not None:
        snapshot = _engine_snapshot(shared, context, gpus)
        body, content_type = render_metrics(context.metrics, snapshot, accept, shows=shows)
    else:
        server = Counted(shared.metrics, _engine_snapshot(shared, None, gpus))
        body, content_type = render_all(server, _models(request), accept, shows=shows)
    headers = {
        "Process-Start-Time-Unix": str(shared.created),
        "Content-Type": content_type,
        "Vary": "Accept",
    }
    return Response(body, headers=headers)


def _models(request: Request) -> list[Counted]:
    pool, shared = pool_of(request), shared_of(request)
    asked = request.query_params.get("model")
    only = pool.find(asked).name if asked else None
    return [
        Counted(metrics, _engine_snapshot(shared, context, ()))
        for metrics, context in pool.metrics()
        if only is None or metrics.model_name == only
    ]


def _engine_snapshot(
    shared: SharedContext, context: ServerContext | None, gpus: tuple[Gpu, ...]
) -> EngineSnapshot:
    draining = shared.drain.has_begun
    if context is None:
        return EngineSnapshot(False, draining, 0, 0, None, gpus)
    engine = context.engine
    try:
        n_slots, n_ctx = engine.model.n_slots, engine.model.n_ctx
    except Unavailable:
        n_slots = n_ctx = 0
    return EngineSnapshot(engine.is_ready, draining, n_slots, n_ctx, engine.heartbeat_age, gpus)
