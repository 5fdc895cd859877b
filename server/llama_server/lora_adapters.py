"""`/lora-adapters`: what is loaded, and at which scales requests get it that don't say."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.http.json_response import JsonResponse
from server.model.adapters import LoraScales
from server.requests.body import read_body


async def list_adapters(request: Request) -> Response:
    """The adapters with their numbers and scales; files go by their names only."""
    context = context_of(request)
    adapters = zip(context.engine.model.adapters, context.adapter_scales.scales, strict=True)
    return JsonResponse(
        [
            {
                "id": number,
                "path": Path(adapter.path).name,
                "scale": scale,
                "task_name": adapter.task_name,
                "prompt_prefix": adapter.prompt_prefix,
            }
            for number, (adapter, scale) in enumerate(adapters)
        ]
    )


async def set_adapters(request: Request) -> Response:
    """Change the scales of requests that come from now on; unlisted adapters get 0."""
    context = context_of(request)
    body = await read_body(request, LoraScales)
    context.adapter_scales.replace(body.root)
    return JsonResponse({"success": True})
