"""`/v1/models`: the models, in OpenAI's, Anthropic's, Ollama's and llama-server's shape at once.

The adapters of a server with one model are listed as vLLM lists them.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.app_state import state_of
from server.catalog.facts import whole_metadata
from server.context import ServerContext
from server.errors import NotFound
from server.http.json_response import JsonResponse
from server.pool.interface import ModelPool, ModelState, ServedModel
from server.pool.sight import find_in_sight, models_in_sight
from server.requests.model_name import asked_adapter
from server.store.progress import PullProgress

_VOCAB_TYPES = {"llama": 1, "gpt2": 2, "bert": 3, "t5": 4, "rwkv": 5, "plamo2": 6}
"""llama.cpp's numbers for `tokenizer.ggml.model`; 0 means that there is no vocabulary."""

_STATUS = {ModelState.FAILED: "unloaded", ModelState.UNLOADING: "loaded"}
"""llama-server's words for states that it has no words for."""


async def list_models(request: Request) -> Response:
    """All shapes in one object: clients of each API read their own keys.

    `?reload=1` reads the folders and presets of a server with several models again.
    """
    pool = state_of(request).pool
    if pool.only is not None:
        own = _openai_model(pool.only)
        adapters = [_adapter(own, name) for name in _adapter_names(pool.only)]
        return JsonResponse(_page([own, *adapters], [_ollama_model(pool.only)]))
    if request.query_params.get("reload"):
        access_record(request.scope).check_admin()
        await pool.refresh()
    served = models_in_sight(request)
    created = state_of(request).context.created
    loaded = [context for one in served if (context := pool.loaded(one.name)) is not None]
    data = [pooled_model(pool, one, created) for one in served]
    data += _downloading(request, created, {one["id"] for one in data})
    return JsonResponse(_page(data, [_ollama_model(context) for context in loaded]))


async def retrieve_model(request: Request) -> Response:
    """A model, by any of its names. Names may contain slashes."""
    pool = state_of(request).pool
    name = request.path_params["model"]
    context = pool.only
    if context is not None:
        if name in _adapter_names(context):
            return JsonResponse(_adapter(_openai_model(context), name))
        if name != context.model_name and name not in context.settings.alias:
            raise NotFound(
                f"there is no model {name!r} here; this server serves {context.model_name!r}",
                param="model",
            )
        return JsonResponse(_openai_model(context))
    served = find_in_sight(request, name)
    return JsonResponse(pooled_model(pool, served, state_of(request).context.created))


def _adapter_names(context: ServerContext) -> list[str]:
    """The adapters that requests can choose by `model`."""
    return [name for name in context.adapter_scales.names if asked_adapter(name, context)]


def _adapter(model: dict[str, Any], name: str) -> dict[str, Any]:
    """An adapter, whose `parent` is the model that it changes."""
    names = {"id": name, "root": name, "display_name": name}
    return {**model, **names, "aliases": [], "tags": [], "parent": model["id"]}


def pooled_model(pool: ModelPool, served: ServedModel, created: int) -> dict[str, Any]:
    """One of several models: llama-server's status, and what is known of it while it is loaded."""
    context = pool.loaded(served.name)
    known = {} if context is None else _openai_model(context)
    return {
        **_named(served.name, created),
        "aliases": list(served.aliases),
        "tags": list(served.tags),
        **{key: known[key] for key in ("max_input_tokens", "meta") if key in known},
        "status": status_json(served),
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "source": served.source,
        "can_remove": served.can_remove,
    }


def _downloading(request: Request, created: int, listed: Set[str]) -> list[dict[str, Any]]:
    """What is being downloaded and is not listed yet, as llama-server lists it. Admins see it."""
    if not access_record(request.scope).is_admin:
        return []
    running = {str(one.reference): one.latest for one in state_of(request).downloads.running()}
    return [
        {
            **_named(name, created),
            "status": {"value": "downloading", "args": []},
            "progress": _progress(latest),
        }
        for name, latest in running.items()
        if name not in listed
    ]


def _progress(latest: PullProgress) -> dict[str, Any]:
    """Bytes of the file that is being downloaded; nothing before the first file."""
    if latest.total is None:
        return {}
    return {latest.file: {"done": latest.completed, "total": latest.total}}


def _named(name: str, created: int) -> dict[str, Any]:
    """What every model is listed with."""
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": created,
        "created_at": datetime.fromtimestamp(created, UTC).isoformat(),
        "owned_by": "llamapack",
    }


def status_json(served: ServedModel) -> dict[str, Any]:
    """What a model does, in llama-server's words, and what it takes."""
    status: dict[str, Any] = {
        "value": _STATUS.get(served.state, served.state.value),
        "args": list(served.arguments),
    }
    if served.progress is not None:
        stages = {"stages": ["text_model"], "current": "text_model"}
        status["progress"] = {**stages, "value": round(served.progress, 3)}
    if served.state is ModelState.FAILED:
        status |= {"failed": True, "exit_code": served.exit_code or 1, "reason": served.failure}
    if served.memory is not None:
        status["memory"] = {"host": served.memory.host, "device": served.memory.device}
    status |= {"pinned": served.is_pinned, "num_users": served.num_users}
    if served.expires_at is not None:
        status["expires_at"] = datetime.fromtimestamp(served.expires_at, UTC).isoformat()
    return status


def _page(data: list[dict[str, Any]], ollama: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "models": ollama,
        "object": "list",
        "data": data,
        # Anthropic's pages: there is one.
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _openai_model(context: ServerContext) -> dict[str, Any]:
    model, tokenizer = context.engine.model, context.tokenizer
    architecture = tokenizer.metadata("general.architecture") or ""
    vocabulary = tokenizer.metadata("tokenizer.ggml.model") or ""
    return {
        "id": context.model_name,
        "aliases": list(context.settings.alias),
        "tags": list(context.settings.tags),
        "object": "model",
        "type": "model",
        "display_name": context.model_name,
        "parent": None,
        "created": context.created,
        "created_at": datetime.fromtimestamp(context.created, UTC).isoformat(),
        "max_input_tokens": model.n_ctx_slot,
        "owned_by": "llamapack",
        "meta": {
            "vocab_type": _VOCAB_TYPES.get(vocabulary, 0),
            "n_vocab": model.n_vocab,
            "n_ctx": model.n_ctx_slot,
            "n_ctx_train": whole_metadata(tokenizer, f"{architecture}.context_length"),
            "n_embd": whole_metadata(tokenizer, f"{architecture}.embedding_length"),
            "n_params": model.n_params,
            "size": model.size_bytes,
            "ftype": model.file_type,
        },
    }


def _ollama_model(context: ServerContext) -> dict[str, Any]:
    model = context.engine.model
    family = context.tokenizer.metadata("general.architecture") or ""
    return {
        "name": context.model_name,
        "model": context.model_name,
        "modified_at": "",
        "size": str(model.size_bytes),
        "digest": "",
        "type": "model",
        "description": model.description,
        "tags": [""],
        "capabilities": ["completion"],
        "parameters": "",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": str(model.n_params),
            "quantization_level": model.file_type,
        },
    }
