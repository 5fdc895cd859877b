"""The models as LM Studio lists them, in both versions of its API."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.catalog.facts import UNKNOWN, ModelFacts, facts_of, facts_of_one
from server.http.json_response import JsonResponse
from server.pool.interface import ModelState, ServedModel
from server.pool.sight import find_in_sight, models_in_sight

Json = dict[str, Any]


async def list_models_v0(request: Request) -> Response:
    """All models, loaded or not."""
    found = await facts_of(state_of(request).pool, models_in_sight(request))
    data = [_v0(served, facts) for served, facts in found]
    return JsonResponse({"object": "list", "data": data})


async def get_model_v0(request: Request) -> Response:
    """One model, by any of its names. Names may contain slashes."""
    served = find_in_sight(request, request.path_params["model"])
    return JsonResponse(_v0(served, await facts_of_one(state_of(request).pool, served)))


async def list_models_v1(request: Request) -> Response:
    """All models, with their loaded instances: one, or none."""
    found = await facts_of(state_of(request).pool, models_in_sight(request))
    return JsonResponse({"models": [_v1(served, facts) for served, facts in found]})


def kind_of(facts: ModelFacts) -> str:
    """The type of a model in the newer API."""
    return "llm" if facts.can_generate else "embedding"


def _v0(served: ServedModel, facts: ModelFacts) -> Json:
    is_loaded = served.state is ModelState.LOADED
    entry: Json = {
        "id": served.name,
        "object": "model",
        "type": "llm" if facts.can_generate else "embeddings",
        "publisher": _publisher(served),
        "arch": facts.architecture,
        "compatibility_type": "gguf",
        "quantization": facts.file_type,
        "state": "loaded" if is_loaded else "not-loaded",
        "max_context_length": facts.context_length,
    }
    if is_loaded and facts.n_ctx:
        entry["loaded_context_length"] = facts.n_ctx
    if facts.can_generate:
        entry["capabilities"] = ["tool_use"] if facts.has_tools else []
    return entry


def _v1(served: ServedModel, facts: ModelFacts) -> Json:
    is_loaded = served.state is ModelState.LOADED
    config = {"context_length": facts.n_ctx or facts.context_length}
    entry: Json = {
        "type": kind_of(facts),
        "publisher": _publisher(served),
        "key": served.name,
        "display_name": served.name,
        "quantization": _quantization(facts),
        "size_bytes": facts.size_bytes,
        "params_string": facts.size_text or None,
        "loaded_instances": [{"id": served.name, "config": config}] if is_loaded else [],
        "max_context_length": facts.context_length,
        "format": "gguf",
    }
    if facts.can_generate:
        capabilities = {"vision": False, "trained_for_tool_use": facts.has_tools}
        more = {"capabilities": capabilities, "description": None}
        entry |= {"architecture": facts.architecture or None, **more}
    return entry


def _quantization(facts: ModelFacts) -> Json | None:
    if facts.file_type == UNKNOWN:
        return None
    bits = None
    if facts.num_parameters:
        bits = round(8 * facts.size_bytes / facts.num_parameters, 2)
    return {"name": facts.file_type, "bits_per_weight": bits}


def _publisher(served: ServedModel) -> str:
    """The user of a repository that the name begins with."""
    return served.name.partition("/")[0] if "/" in served.name else ""
