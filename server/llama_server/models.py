"""`/v1/models`: the served model, in OpenAI's, Anthropic's and Ollama's shape at once, and its
adapters as vLLM lists them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.context import ServerContext, context_of
from server.errors import NotFound
from server.http.json_response import JsonResponse
from server.requests.model_name import asked_adapter

_VOCAB_TYPES = {"llama": 1, "gpt2": 2, "bert": 3, "t5": 4, "rwkv": 5, "plamo2": 6}
"""llama.cpp's numbers for `tokenizer.ggml.model`; 0 means that there is no vocabulary."""


async def list_models(request: Request) -> Response:
    """All shapes in one object: clients of each API read their own keys."""
    context = context_of(request)
    models = [_openai_model(context), *map(partial(_adapter, context), _adapter_names(context))]
    body = {
        "models": [_ollama_model(context)],
        "object": "list",
        "data": models,
        # Anthropic's pages: there is one.
        "has_more": False,
        "first_id": models[0]["id"],
        "last_id": models[-1]["id"],
    }
    return JsonResponse(body)


async def retrieve_model(request: Request) -> Response:
    """The served model by any of its names, or an adapter. Names may contain slashes."""
    context = context_of(request)
    name = request.path_params["model"]
    if name in _adapter_names(context):
        return JsonResponse(_adapter(context, name))
    if name != context.model_name and name not in context.settings.alias:
        raise NotFound(
            f"there is no model {name!r} here; this server serves {context.model_name!r}",
            param="model",
        )
    return JsonResponse(_openai_model(context))


def _openai_model(context: ServerContext) -> dict[str, Any]:
    model = context.engine.model
    architecture = context.tokenizer.metadata("general.architecture") or ""
    vocabulary = context.tokenizer.metadata("tokenizer.ggml.model") or ""
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
            "n_ctx_train": _whole(context, f"{architecture}.context_length"),
            "n_embd": _whole(context, f"{architecture}.embedding_length"),
            "n_params": model.n_params,
            "size": model.size_bytes,
        },
    }


def _adapter_names(context: ServerContext) -> list[str]:
    """The adapters that requests can choose by `model`."""
    return [name for name in context.adapter_scales.names if asked_adapter(name, context)]


def _adapter(context: ServerContext, name: str) -> dict[str, Any]:
    """An adapter, whose `parent` is the model that it changes."""
    names = {"id": name, "root": name, "display_name": name}
    own = {"aliases": [], "tags": [], "parent": context.model_name}
    return {**_openai_model(context), **names, **own}


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


def _whole(context: ServerContext, key: str) -> int:
    text = context.tokenizer.metadata(key) or ""
    return int(text) if text.isdecimal() and len(text) < 20 else 0
