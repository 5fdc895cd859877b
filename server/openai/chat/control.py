"""`POST /v1/chat/completions/control`: acts on a chat completion that is being streamed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.bodies.label import Label
from server.bodies.request_model import RequestModel
from server.context import context_of
from server.http.json_response import JsonResponse
from server.requests.body import read_body
from server.requests.model_name import check_model


class ControlRequest(RequestModel):
    """`POST /v1/chat/completions/control`."""

    id: Annotated[Label, Field(min_length=1)]
    """The id that the completion's chunks have."""
    action: Literal["reasoning_end"]
    model: Label | None = None


async def control_completion(request: Request) -> Response:
    """End the thinking of a streamed chat completion that was started with `reasoning_control`."""
    context = context_of(request)
    body = await read_body(request, ControlRequest)
    check_model(body.model, context)
    tenant = access_record(request.scope).tenant
    complaint = await context.engine.end_thinking(body.id, tenant)
    if complaint:
        return JsonResponse({"success": False, "message": complaint})
    return JsonResponse({"success": True})
