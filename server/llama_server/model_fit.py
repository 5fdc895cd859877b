"""`GET /models/fit`: what a model would take of memory, and whether that fits now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from config import ServeSettings
from config.speculation import DRAFT_MODEL
from server.access.access_record import access_record
from server.app_state import state_of
from server.catalog.model_fit import ModelFit, room_for
from server.engine.config import engine_config
from server.errors import InvalidRequest
from server.http.disconnect import while_connected
from server.http.json_response import JsonResponse
from server.pool.memory import MemoryUse
from server.pool.sight import find_in_sight

MOST_TOKENS = 1 << 31
MOST_SLOTS = 1 << 12


async def get_fit(request: Request) -> Response:
    """What a model takes with its own settings, or with another context and number of slots."""
    pool = state_of(request).pool
    name = request.query_params.get("model") or pool.default
    if name is None:
        raise InvalidRequest("'model' must name a model, as ?model=", param="model")
    served = find_in_sight(request, name)
    record = access_record(request.scope)
    if not served.path:
        raise InvalidRequest(f"{served.name} is not downloaded yet", param="model")
    settings = _asked(request, pool.settings_of(name))
    path = Path(served.path)
    options = engine_config(settings, path, "INFO", _draft(settings))
    planning = state_of(request).fit_desk.plan(path, options, record.tenant)
    footprint, devices = await while_connected(request.receive, planning)
    fit = ModelFit(footprint, room_for(served, pool.models(), devices))
    return JsonResponse({"model": served.name, "state": served.state.value, **fit_json(fit)})


def fit_json(fit: ModelFit) -> dict[str, Any]:
    """The answer in numbers; sizes are in bytes."""
    footprint, room = fit.footprint, fit.room
    return {
        "fits": fit.verdict.value,
        "slots": footprint.n_slots,
        "ctx_size": footprint.n_ctx,
        "tokens_per_slot": footprint.n_ctx_slot,
        "tokens_trained": footprint.n_ctx_train,
        "memory": {
            **_memory(fit.need),
            "parts": msgspec.structs.asdict(footprint.parts),
            "saved_prefixes": footprint.cache_bytes,
        },
        "lacking": _memory(fit.lacking),
        "free": _memory(room.free),
        "total": _memory(room.total),
        "taken": _memory(room.taken),
    }


def _memory(use: MemoryUse) -> dict[str, int]:
    return {"host": use.host, "device": use.device}


def _asked(request: Request, settings: ServeSettings) -> ServeSettings:
    """The model's settings, with what the query says otherwise. Raises `InvalidRequest`."""
    bounds = {"ctx_size": MOST_TOKENS, "parallel": MOST_SLOTS}
    asked = {
        name: _number(text, name, most)
        for name, most in bounds.items()
        if (text := request.query_params.get(name)) is not None
    }
    changed = settings.model_copy(update=asked)
    if 0 < changed.ctx_size < changed.parallel:
        raise InvalidRequest(
            f"'ctx_size' must be at least the number of slots ({changed.parallel})",
            param="ctx_size",
        )
    return changed


def _number(text: str, name: str, most: int) -> int:
    least = 0 if name == "ctx_size" else 1
    is_short = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not is_short or not least <= int(text) <= most:
        raise InvalidRequest(
            f"{name!r} must be a whole number from {least} to {most:,}", param=name
        )
    return int(text)


def _draft(settings: ServeSettings) -> Path | None:
    """The draft model's file, if there is one; none is downloaded for a question."""
    path = settings.spec_draft_model
    return path if DRAFT_MODEL in settings.spec_type and path and path.is_file() else None
