"""`POST /v1/chat/completions/input_tokens`: how many tokens a chat's prompt has."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.chat.prompt import render_chat
from server.chat.request import ChatRequest
from server.context import ServerContext, context_of
from server.http.json_response import JsonResponse
from server.requests.body import read_body
from server.requests.model_name import check_model
from server.requests.threads import in_thread


async def count_input_tokens(request: Request) -> Response:
    """Count the prompt's tokens of a chat completion, and generate nothing."""
    body = await read_body(request, ChatRequest)
    count = await in_thread(request, _count, body, context_of(request))
    return JsonResponse({"input_tokens": count, "object": "response.input_tokens"})


def _count(body: ChatRequest, context: ServerContext) -> int:
    """The number of tokens, which may be more than a slot holds.

    Raises `NotFound` for another model, and `InvalidRequest`.
    """
    check_model(body.model, context)
    body.check()
    return len(render_chat(body, context).tokens(context.tokenizer))
