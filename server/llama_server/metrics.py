"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from protocol.commands import LoraSet
from protocol.messages import ModelInfo
from server.access.sight import sees
from server.app_state import state_of
from server.context import ServerContext, SharedContext
from server.engine.config import host_cache_bytes
from server.errors import NotSupported, Unavailable
from server.observability.engine_snapshot import AdapterUse, BlockSizes, EngineSnapshot
from server.observability.exposition import Counted, render_all, render_metrics
from server.observability.gpus import Gpu
from server.pool.sight import find_in_sight, models_in_sight


async def get_metrics(request: Request) -> Response:
    """All counters in Prometheus' text format, or in OpenMetrics' format if the client asks.

    On a server with several models, `?model=` leaves out the others. It loads none. A key that may
    use some models alone sees no others.
    """
    shared = state_of(request).context
    if not shared.settings.metrics:
        raise NotSupported("this server was started without --metrics")
    accept = request.headers.get("accept", "")
    gpus = await shared.metrics.gpus.read()
    context = state_of(request).pool.only

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
    pool, shared = state_of(request).pool, state_of(request).context
    asked = request.query_params.get("model")
    shown = [find_in_sight(request, asked)] if asked else models_in_sight(request)
    names = {one.name for one in shown}
    return [
        Counted(metrics, _engine_snapshot(shared, context, ()))
        for metrics, context in pool.metrics()
        if metrics.model_name in names
    ]


def _engine_snapshot(
    shared: SharedContext, context: ServerContext | None, gpus: tuple[Gpu, ...]
) -> EngineSnapshot:
    draining = shared.drain.has_begun
    if context is None:
        return EngineSnapshot(False, draining, 0, 0, None, gpus)
    engine = context.engine
    try:
        model = engine.model
    except Unavailable:
        return EngineSnapshot(engine.is_ready, draining, 0, 0, engine.heartbeat_age, gpus)
    return EngineSnapshot(
        is_up=engine.is_ready,
        is_draining=draining,
        n_slots=model.n_slots,
        n_ctx=model.n_ctx,
        heartbeat_age=engine.heartbeat_age,
        gpus=gpus,
        blocks=BlockSizes(
            size=context.settings.kv_events_block_size,
            cache_type=context.settings.cache_type_k,
            num_host_bytes=host_cache_bytes(context.settings),
            cell_bytes=model.cell_bytes,
        ),
        adapters=_adapter_use(context, model),
    )


def _adapter_use(context: ServerContext, model: ModelInfo) -> AdapterUse | None:
    if not model.adapters:
        return None
    scales = context.adapter_scales

    def names(lora_sets: Iterable[LoraSet]) -> tuple[str, ...]:
        found = (scales.name_of(model.adapters, lora) for lora in lora_sets)
        return tuple(sorted(name for name in found if name is not None))

    return AdapterUse(
        num_loaded=len(model.adapters),
        running=names(context.engine.lora_sets(are_running=True)),
        waiting=names(context.engine.lora_sets(are_running=False)),
    )
