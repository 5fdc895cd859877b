"""`POST /models` downloads a model in the background; `DELETE /models` removes one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.app_state import state_of
from server.catalog.changes import changes_models
from server.catalog.pulls import api_error
from server.catalog.removal import remove_model
from server.errors import InvalidRequest
from server.http.json_response import JsonResponse
from server.llama_server.loading import ModelName
from server.requests.body import read_body
from server.store.errors import StoreError


@changes_models
async def download_model(request: Request) -> Response:
    """Download a model in the background; `/models/sse` tells how it goes."""
    body = await read_body(request, ModelName)
    try:
        state_of(request).downloads.start(body.model)
    except StoreError as error:
        raise api_error(error) from None
    return JsonResponse({"success": True})


@changes_models
async def delete_model(request: Request) -> Response:
    """Remove a model that was downloaded or imported, after unloading it."""
    name = request.query_params.get("model")
    if not name:
        raise InvalidRequest("'model' must name the model to remove, as ?model=", param="model")
    await remove_model(request, name)
    return JsonResponse({"success": True})
