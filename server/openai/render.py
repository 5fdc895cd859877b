"""The render endpoints: the tokens of prompts, for routers that send a request where they are
cached."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.chat.prompt import render_chat
from server.chat.request import ChatRequest
from server.context import ServerContext, context_of
from server.http.json_response import JsonResponse
from server.requests.body import read_body
from server.requests.model_name import check_model
from server.requests.text_completion import TextCompletionRequest
from server.requests.threads import in_thread


async def render_chat_completion(request: Request) -> Response:
    """The tokens of a chat completion's prompt; generates nothing."""
    body = await read_body(request, ChatRequest)
    tokens = await in_thread(request, _chat_tokens, body, context_of(request))
    return JsonResponse({"token_ids": tokens})


async def render_completion(request: Request) -> Response:
    """The tokens of each prompt of a text completion; generates nothing."""
    body = await read_body(request, TextCompletionRequest)
    prompts = await in_thread(request, body.rendered, context_of(request))
    return JsonResponse([{"token_ids": tokens} for tokens in prompts])


def _chat_tokens(body: ChatRequest, context: ServerContext) -> list[int]:
    """Raises what `plan_chat` raises for the prompt; the tokens may be more than a slot holds."""
    check_model(body.model, context)
    body.check()
    return render_chat(body, context).tokens(context.tokenizer)
