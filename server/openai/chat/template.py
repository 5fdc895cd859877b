"""`POST /apply-template`: the prompt that a chat would become."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.chat.prompt import render_text
from server.chat.request import ChatRequest
from server.context import context_of
from server.http.json_response import JsonResponse
from server.requests.body import read_body
from server.requests.threads import in_thread


async def apply_template(request: Request) -> Response:
    """Render the body of a chat completion, and generate nothing."""
    body = await read_body(request, ChatRequest)
    body.check()
    template = context_of(request).chat_template
    return JsonResponse({"prompt": await in_thread(request, render_text, body, template)})
