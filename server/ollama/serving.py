"""Finds the model that answers a request of Ollama's dialect, and keeps it loaded meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from server.access.access_record import access_record
from server.app_state import state_of
from server.context import ServerContext, context_of, model_context
from server.errors import NotFound
from server.http.json_response import JsonResponse, encode_json
from server.ollama.answer import empty_answer
from server.ollama.names import not_found, untagged
from server.ollama.recipes import Recipe
from server.ollama.request import AnswerRequest, ModelRequest
from server.pool.interface import FOR_EVER, ServedModel
from server.pool.routing import Handler, for_model
from server.pool.sight import find_in_sight

_MOST_USER = 4096
"""Characters of the name of a user."""

_USER_HEADERS = ("x-openwebui-user-id", "x-openwebui-chat-id")
"""By which Open WebUI says whom a request is for: users take turns within their key."""

Answer = Callable[[Request, ServerContext], Awaitable[Response]]


def in_queue(handler: Handler) -> Handler:
    """The handler, in the queue before the body is read, so that a flood costs little.

    Where the body says which model answers, that model's queue is entered later.
    """

    @functools.wraps(handler)
    async def queued(request: Request) -> Response:
        only = state_of(request).pool.only
        if only is None:
            return await handler(request)
        with only.enter_queue(access_record(request.scope).tenant):
            return await handler(request)

    return queued


def recipe_of(request: Request, name: str) -> Recipe:
    """What the name stands for: a made model, or a model as it is."""
    found = state_of(request).recipes.get(name)
    return Recipe(name=name, base=name) if found is None else found


def served_model(request: Request, name: str) -> ServedModel:
    """The model whose weights answer for this name. Raises `NotFound`, also if the key may not
    use it."""
    try:
        return find_in_sight(request, untagged(recipe_of(request, name).base))
    except NotFound:
        raise not_found(name) from None


async def with_model(request: Request, body: ModelRequest, base: str, answer: Answer) -> Response:
    """The answer of the model with this name, which is loaded first. The body must have been read.

    Raises `NotFound` in Ollama's words, and what entering a lease raises.
    """
    pool = state_of(request).pool

    async def queued(request: Request) -> Response:
        with model_context(request).enter_queue(access_record(request.scope).tenant):
            return await answer(request, context_of(request))

    if pool.only is None or pool.only.settings.strict_model:
        served_model(request, body.model)
    if pool.only is not None:
        return await answer(request, context_of(request))
    return await for_model(queued)(_about(request, untagged(base), body.keep_alive))


def _about(request: Request, model: str, keep_alive: float | None) -> Request:
    """The request, with a body that says only which model answers, and how long it stays then."""
    stay = -1 if keep_alive == FOR_EVER else keep_alive
    held = [encode_json({"model": model, "keep_alive": stay})]

    async def receive() -> Message:
        if held:
            return {"type": "http.request", "body": held.pop(), "more_body": False}
        return await request.receive()

    return Request(request.scope, receive)


async def load_or_unload(
    request: Request, body: AnswerRequest, base: str, *, is_chat: bool
) -> Response:
    """The answer to a request without a prompt."""

    async def loaded(request: Request, context: ServerContext) -> Response:
        _ = context.engine.model  # raises `Unavailable` while the model loads
        return JsonResponse(empty_answer(body.model, "load", is_chat=is_chat))

    if not body.unloads:
        return await with_model(request, body, base, loaded)
    access_record(request.scope).check_admin()
    served_model(request, body.model)
    await state_of(request).pool.unload(untagged(base))
    return JsonResponse(empty_answer(body.model, "unload", is_chat=is_chat))


def user_of(request: Request) -> str | None:
    """Whom the request is for, if its headers say so."""
    found = (request.headers.get(name) for name in _USER_HEADERS)
    return next((user[:_MOST_USER] for user in found if user), None)
