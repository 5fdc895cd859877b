"""`/v1/responses`: made, read again, ended, deleted; and the size of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from server.access.access_record import access_record
from server.answers.respond import respond
from server.app_state import state_of
from server.chat.plan import ChatPlan, plan_chat
from server.chat.prompt import render_chat
from server.chat.request import ChatRequest
from server.context import ServerContext, context_of
from server.errors import ContextExceeded, InvalidRequest
from server.generation.types import GenerationRequest
from server.http.json_response import JsonResponse
from server.http.sse import EventStream
from server.openai.responses.answer import Growing, ResponseObject, ResponseStream, WholeResponse
from server.openai.responses.background import BackgroundResponse, Backgrounds, Keep
from server.openai.responses.conversation import function_names, to_chat
from server.openai.responses.items import Item, ReferenceItem
from server.openai.responses.output import OutputOptions
from server.openai.responses.request import ResponseRequest
from server.openai.responses.store import ResponseStore
from server.openai.responses.stream_query import first_event
from server.openai.responses.truncation import truncated
from server.requests.body import read_body
from server.requests.model_name import check_model
from server.requests.threads import in_thread

_ITEMS: TypeAdapter[list[Item]] = TypeAdapter(list[Item])
_SEALED = "reasoning.encrypted_content"


async def create_response(request: Request) -> Response:
    """Make a response, streamed or in one piece, and store it unless `store` is false."""
    context = context_of(request)
    owner = _owner(request)
    body = await read_body(request, ResponseRequest)
    store = _store(request)
    chat, plan = await in_thread(
        request, _plan, body, context, store, owner, is_structured=body.is_structured
    )
    options = OutputOptions(
        names=function_names(body),
        max_calls=plan.options.max_calls,
        is_summary=body.reasoning.summary is not None,
        is_sealed=_SEALED in body.include,
    )
    made = ResponseObject(body, context.model_name)
    keep = partial(_keep, store, owner, body)
    if body.background:
        growing = Growing(made, options, context.tokenizer)
        return await _in_background(request, chat, plan.sequences, growing, keep)
    parts = (made, options, context.tokenizer, keep)
    return await respond(
        request,
        chat,
        plan.sequences,
        context,
        whole=lambda: WholeResponse(*parts),
        streamed=lambda: ResponseStream(*parts),
    )


async def _in_background(
    request: Request,
    chat: ChatRequest,
    sequences: Sequence[GenerationRequest],
    growing: Growing,
    keep: Keep,
) -> Response:
    """Begin a response that runs on without the client, and tell how it stands or stream it."""
    context, backgrounds = context_of(request), _backgrounds(request)
    owner, record = _owner(request), access_record(request.scope)
    backgrounds.check_room(owner)
    made = backgrounds.new(owner, growing, keep)
    record.stay()
    await backgrounds.begin(made, context.generator, sequences, on_end=record.leave)
    if not chat.stream:
        return JsonResponse(made.now())
    return _events(made, 0, chat.ping_seconds(context.settings.sse_ping_interval))


async def count_input_tokens(request: Request) -> Response:
    """Count the tokens of a response's prompt, and generate nothing."""
    context = context_of(request)
    body = await read_body(request, ResponseRequest)
    count = await in_thread(request, _count, body, context, _store(request), _owner(request))
    return JsonResponse({"object": "response.input_tokens", "input_tokens": count})


async def get_response(request: Request) -> Response:
    """A response that was stored or is being made; the events of one made in the background."""
    store, owner, id_ = _store(request), _owner(request), request.path_params["id"]
    start = first_event(request.query_params)
    made = _backgrounds(request).get(owner, id_)
    if start is not None and made is not None:
        made.check_events(start)
        ping_seconds = state_of(request).context.settings.sse_ping_interval
        return _events(made, start, max(ping_seconds, 0))
    if made is not None and not made.is_over:
        return JsonResponse(made.now())
    stored = await in_thread(request, store.get, owner, id_)
    if start is not None:
        message = "'stream' is for responses of the background, while their events are known"
        raise InvalidRequest(message, param="stream")
    return JsonResponse(stored.response)


async def cancel_response(request: Request) -> Response:
    """End a response of the background early. One that has ended stays as it is."""
    store, owner, id_ = _store(request), _owner(request), request.path_params["id"]
    made = _backgrounds(request).get(owner, id_)
    if made is not None:
        await made.end()
    stored = await in_thread(request, store.get, owner, id_)
    if not stored.response["background"]:
        raise InvalidRequest("only a response of the background can be cancelled", param="id")
    return JsonResponse(stored.response)


async def delete_response(request: Request) -> Response:
    """Forget a stored response. One that is being made is ended first."""
    store, owner, id_ = _store(request), _owner(request), request.path_params["id"]
    backgrounds = _backgrounds(request)
    made = backgrounds.get(owner, id_)
    if made is not None:
        await made.end()
        backgrounds.forget(made)
    await in_thread(request, store.delete, owner, id_)
    return JsonResponse({"id": id_, "object": "response", "deleted": True})


async def list_input_items(request: Request) -> Response:
    """The items that came with a stored response's request."""
    store, id_ = _store(request), request.path_params["id"]
    items = (await in_thread(request, store.get, _owner(request), id_)).input
    page = {"first_id": None, "last_id": None, "has_more": False}
    return JsonResponse({"object": "list", "data": items, **page})


def _store(request: Request) -> ResponseStore:
    return state_of(request).responses


def _backgrounds(request: Request) -> Backgrounds:
    return state_of(request).backgrounds


def _events(made: BackgroundResponse, start: int, ping_seconds: int) -> Response:
    return EventStream(made.follow(start), AsyncExitStack(), ping_seconds=ping_seconds)


def _owner(request: Request) -> str:
    key = access_record(request.scope).key
    return "" if key is None else key.owner


def _plan(
    body: ResponseRequest, context: ServerContext, store: ResponseStore, owner: str
) -> tuple[ChatRequest, ChatPlan]:
    body.check()

    def plan(items: Sequence[Item]) -> tuple[ChatRequest, ChatPlan]:
        chat = to_chat(body, items)
        return chat, plan_chat(chat, context)

    items = _all_items(body, store, owner)
    try:
        return truncated(items, plan) if body.truncation == "auto" else plan(items)
    except ContextExceeded as error:
        error.param = "input"
        raise


def _count(body: ResponseRequest, context: ServerContext, store: ResponseStore, owner: str) -> int:
    check_model(body.model, context)
    body.check()
    chat = to_chat(body, _all_items(body, store, owner))
    return len(render_chat(chat, context).tokens(context.tokenizer))


def _all_items(body: ResponseRequest, store: ResponseStore, owner: str) -> list[Item]:
    """The items of earlier responses, and those of the request, with references resolved."""
    earlier: list[Any] = []
    if body.previous_response_id is not None:
        earlier = store.history(owner, body.previous_response_id)
    items = [*_ITEMS.validate_python(earlier), *_ITEMS.validate_python(_own_items(body))]
    found = [
        store.item(owner, item.id) if isinstance(item, ReferenceItem) else item for item in items
    ]
    return _ITEMS.validate_python(found)


def _own_items(body: ResponseRequest) -> list[Any]:
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": body.input}]
    return list(body.input)


def _keep(
    store: ResponseStore,
    owner: str,
    body: ResponseRequest,
    response: dict[str, Any],
    *,
    is_running: bool = False,
) -> None:
    """Store a response."""
    if body.store:
        items = [
            item if isinstance(item, dict) else item.model_dump(mode="json", exclude_none=True)
            for item in _own_items(body)
        ]
        store.put(owner, items, response, is_running=is_running)
