"""`POST /v1/messages`, and what its prompt is: `/v1/messages/count_tokens` and `/render`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from server.answers.respond import respond
from server.anthropic.answer import MessageOptions, MessageStream, WholeMessage
from server.anthropic.conversation import Chat, to_chat
from server.anthropic.request import MessagesRequest, TokenCountRequest
from server.chat.plan import ChatPlan, plan_chat
from server.chat.prompt import render_chat
from server.context import ServerContext, context_of
from server.errors import ApiError
from server.http.json_response import JsonResponse
from server.observability.request_id import current_request_id
from server.requests.body import read_body
from server.requests.model_name import check_model
from server.requests.threads import in_thread


async def create_message(request: Request) -> Response:
    """Answer a conversation, streamed or in one piece."""
    context = context_of(request)
    body = await read_body(request, MessagesRequest)
    chat, plan = await in_thread(request, _plan, body, context, is_structured=body.is_structured)
    options = MessageOptions(
        model=context.model_name,
        num_prompt=len(plan.sequences[0].spec.prompt),
        marks_cache=body.marks_cache,
        max_calls=plan.options.max_calls,
        shows_thinking=body.thinking is None or body.thinking.display != "omitted",
    )
    response = await respond(
        request,
        chat.body,
        plan.sequences,
        context,
        whole=lambda: WholeMessage(options),
        streamed=lambda: MessageStream(options),
    )
    response.headers["request-id"] = current_request_id.get()
    return response


async def count_tokens(request: Request) -> Response:
    """Count the tokens of a conversation's prompt, and generate nothing."""
    body = await read_body(request, TokenCountRequest)
    tokens = await in_thread(request, _tokens, body, context_of(request))
    headers = {"request-id": current_request_id.get()}
    return JsonResponse({"input_tokens": len(tokens)}, headers=headers)


async def render_message(request: Request) -> Response:
    """The tokens of a conversation's prompt; generates nothing."""
    body = await read_body(request, TokenCountRequest)
    tokens = await in_thread(request, _tokens, body, context_of(request))
    return JsonResponse({"token_ids": tokens})


def _plan(body: MessagesRequest, context: ServerContext) -> tuple[Chat, ChatPlan]:
    """Raises what `plan_chat` raises, with the fields of Anthropic's body."""
    body.check()
    chat = to_chat(body)
    try:
        return chat, plan_chat(chat.body, context)
    except ApiError as error:
        raise chat.renamed(error) from error


def _tokens(body: TokenCountRequest, context: ServerContext) -> list[int]:
    body.check()
    check_model(body.model, context)
    chat = to_chat(body)
    try:
        return render_chat(chat.body, context).tokens(context.tokenizer)
    except ApiError as error:
        raise chat.renamed(error) from error
