"""`/props`: the settings and the model that the server runs with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from config import ServeSettings
from config.version import build_fingerprint, version
from server.app_state import state_of
from server.bodies.bounds import bounds_json
from server.context import ServerContext, context_of, served_by
from server.errors import NotSupported
from server.http.json_response import JsonResponse
from server.model.adapters import lora_json
from server.model.tokenizer import Tokenizer
from server.pool.interface import ModelState
from server.requests.generation_settings import default_settings
from server.requests.number_bounds import number_bounds
from server.requests.sampling_defaults import sampling_defaults
from server.requests.sampling_fields import SamplingFields
from server.requests.sequence import most_choices
from server.requests.speculation import speculation_of
from server.templates.capabilities import TemplateCapabilities


async def get_props(request: Request) -> Response:
    """The defaults of a request, the model, its template, and which endpoints are on.

    The answer has the name of the model's file, not its folder, which clients must not learn.
    """
    if served_by(request) is None:
        return JsonResponse(_without_model(request))
    context = context_of(request)
    template = context.chat_template
    props = {
        "default_generation_settings": _defaults(context),
        "total_slots": context.engine.model.n_slots,
        "model_alias": context.model_name,
        "flash_attn": context.engine.model.flash_attn,
        "model_ftype": context.engine.model.file_type,
        "model_path": Path(context.model_path).name,
        "modalities": {"vision": False, "video": False, "audio": False},
        "media_marker": "",
        **_endpoints(context.settings),
        "chat_template": template.source,
        "chat_template_caps": _capabilities(template.capabilities, template.source),
        "bos_token": _text(context.tokenizer.bos, context.tokenizer),
        "eos_token": _text(context.tokenizer.eos, context.tokenizer),
        "build_info": build_info(),
        "is_sleeping": False,
        "request_bounds": _bounds(context),
    }
    if template.tool_source is not None:
        props["chat_template_tool_use"] = template.tool_source
    return JsonResponse(props)


async def set_props(request: Request) -> Response:
    """Accept the request with `--props`, as llama-server does, and change nothing."""
    if not state_of(request).context.settings.props:
        raise NotSupported("this server was started without --props")
    return JsonResponse({"success": True})


def _without_model(request: Request) -> dict[str, Any]:
    """What llama-server's router says of itself, or a server whose one model sleeps."""
    settings, pool = state_of(request).context.settings, state_of(request).pool
    if pool.default is not None:
        sleeping = pool.find(pool.default).state is ModelState.SLEEPING
        facts = {"model_alias": pool.default, "is_sleeping": sleeping}
        return {**facts, **_endpoints(settings), "build_info": build_info()}
    return {
        "role": "router",
        "max_instances": settings.models_max,
        "models_autoload": settings.models_autoload,
        "model_alias": "llamapack",
        "model_path": "none",
        "default_generation_settings": {"params": {}, "n_ctx": 0},
        **_endpoints(settings),
        "build_info": build_info(),
    }


def build_info() -> str:
    """The build, and the version of llama-cpp-python, which contains llama.cpp."""
    return f"{build_fingerprint()} (llama-cpp-python {version('llama-cpp-python')})"


def _defaults(context: ServerContext) -> dict[str, Any]:
    settings = context.settings
    params = default_settings(
        sampling_defaults(settings),
        n_predict=settings.n_predict,
        speculation=speculation_of(settings),
    )
    model = context.engine.model
    lora = context.adapter_scales.lora_set(model.adapters, None)
    params |= {
        "seed": settings.seed % 2**32,
        "ignore_eos": settings.ignore_eos,
        "reasoning_format": settings.reasoning_format,
        "n_keep": settings.keep if settings.context_shift else 0,
        "lora": lora_json(model.adapters, lora),
    }
    return {"params": params, "n_ctx": model.n_ctx_slot}


def _bounds(context: ServerContext) -> dict[str, Any]:
    """What a request may ask for, and how long it may take; 0 seconds is no limit."""
    settings, model = context.settings, context.engine.model
    numbers = number_bounds(SamplingFields)
    return {
        "numbers": numbers
        | {
            "n": {"minimum": 1, "maximum": most_choices(context)},
            "id_slot": {"minimum": -1, "maximum": model.n_slots - 1},
        },
        "sizes": bounds_json(),
        "body_mib": settings.max_body_size,
        "queue_seconds": settings.queue_timeout,
        "answer_seconds": settings.request_timeout,
    }


def _endpoints(settings: ServeSettings) -> dict[str, Any]:
    return {
        "endpoint_slots": settings.slots,
        "endpoint_props": settings.props,
        "endpoint_metrics": settings.metrics,
        "ui": settings.ui and settings.path is None,
        "ui_settings": {},
        "cors_proxy_enabled": False,
    }


def _capabilities(template: TemplateCapabilities, source: str) -> dict[str, bool]:
    return {
        "supports_string_content": template.string_content,
        "supports_typed_content": template.typed_content,
        "supports_system_role": template.system_role,
        "supports_tools": template.tools,
        "supports_tool_calls": template.tool_calls,
        "supports_parallel_tool_calls": template.parallel_tool_calls,
        "supports_object_arguments": template.object_arguments,
        "supports_preserve_reasoning": template.reasoning_field is not None,
        "supports_reasoning_effort": "reasoning_effort" in source,
    }


def _text(token: int | None, tokenizer: Tokenizer) -> str:
    return "" if token is None else tokenizer.text([token], special=True)
