"""`/lora-adapters`: the loaded adapters, and their scales for requests that set none."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from server.context import context_of
from server.http.json_response import JsonResponse
from server.model.adapters import LoraScales
from server.requests.body import read_body


async def list_adapters(request: Request) -> Response:
    """The adapters with their numbers and scales. Paths are hidden, file names are shown."""
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
    """Change the scales for requests from now on. Adapters that are not listed get 0."""
    context = context_of(request)
    body = await read_body(request, LoraScales)
    context.adapter_scales.replace(body.root)
    return JsonResponse({"success": True})
