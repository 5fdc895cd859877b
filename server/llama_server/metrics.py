"""`GET /metrics`, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from protocol.commands import LoraSet
from protocol.messages import ModelInfo
from server.access.sight import sees
from server.context import ServerContext, context_of
from server.engine.config import host_cache_bytes
from server.errors import NotSupported, Unavailable
from server.observability.engine_snapshot import AdapterUse, BlockSizes, EngineSnapshot
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
    is_draining, age = context.drain.has_begun, engine.heartbeat_age
    try:
        model = engine.model
    except Unavailable:
        return EngineSnapshot(engine.is_ready, is_draining, heartbeat_age=age, gpus=gpus)
    return EngineSnapshot(
        is_up=engine.is_ready,
        is_draining=is_draining,
        n_slots=model.n_slots,
        n_ctx=model.n_ctx,
        heartbeat_age=age,
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
