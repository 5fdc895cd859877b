"""Loads and unloads models, as LM Studio's clients ask for it."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.app_state import state_of
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.catalog.facts import facts_of_one
from server.context import ServerContext
from server.errors import InvalidRequest
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.lm_studio.listing import kind_of
from server.pool.sight import find_in_sight
from server.requests.body import read_body
from server.requests.field_types import Count, Flag

_FLAGS = {
    "context_length": "--ctx-size",
    "eval_batch_size": "--batch-size",
    "flash_attention": "--flash-attn",
    "num_experts": "--override-kv",
    "offload_kv_cache_to_gpu": "--kv-offload",
}


class LoadRequest(RequestModel):
    """`POST /api/v1/models/load`. The server's settings say how a model is loaded."""

    model: Annotated[Label, Field(min_length=1)]
    context_length: Count | None = None
    eval_batch_size: Count | None = None
    flash_attention: Flag | None = None
    num_experts: Count | None = None
    offload_kv_cache_to_gpu: Flag | None = None
    echo_load_config: Flag = False

    def check(self, config: dict[str, Any]) -> None:
        """Raise `InvalidRequest` for what is not as in the settings, of which some are known."""
        for name, flag in _FLAGS.items():
            value = getattr(self, name)
            if value is not None and value != config.get(name):
                raise InvalidRequest(
                    f"'{name}' is a setting of the server: set {flag} for the model", param=name
                )


class UnloadRequest(RequestModel):
    """`POST /api/v1/models/unload`."""

    instance_id: Annotated[Label, Field(min_length=1)]
    """The name of the model: each is loaded once at most."""


async def load_model(request: Request) -> Response:
    """Load a model, and wait until it is loaded."""
    body = await read_body(request, LoadRequest)
    pool, access = state_of(request).pool, access_record(request.scope)
    served = find_in_sight(request, body.model)
    body.check({} if pool.only is None else _config(pool.only))
    started = time.monotonic()
    async with pool.lease(served.name, access.tenant) as context:
        facts = await facts_of_one(pool, pool.find(served.name))
        answer = {
            "type": kind_of(facts),
            "instance_id": served.name,
            "load_time_seconds": round(time.monotonic() - started, 3),
            "status": "loaded",
        }
        echoed = {"load_config": _config(context)} if body.echo_load_config else {}
    return JsonResponse({**answer, **echoed})


async def unload_model(request: Request) -> Response:
    """Unload a model, and wait until its memory is free."""
    body = await read_body(request, UnloadRequest)
    pool = state_of(request).pool
    served = pool.find(body.instance_id)
    await while_connected(request.receive, pool.unload(served.name))
    return JsonResponse({"instance_id": served.name})


def _config(context: ServerContext) -> dict[str, Any]:
    """How a model is loaded. Raises `Unavailable` while it is being loaded."""
    settings, model = context.settings, context.engine.model
    config: dict[str, Any] = {"context_length": model.n_ctx_slot}
    if model.can_generate:
        config |= {
            "eval_batch_size": settings.batch_size,
            "flash_attention": model.flash_attn == "on",
            "offload_kv_cache_to_gpu": settings.kv_offload,
        }
    return config
