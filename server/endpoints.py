"""Routes from a table of paths and methods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from server.access.access_record import access_record
from server.context import model_context
from server.pool.routing import Handler, for_model

JSON = "application/json"
PLAIN_TEXT = "text/plain"
EVENTS = "text/event-stream"
STREAMABLE = (JSON, EVENTS)
"""Media types of an answer that is a stream of events if the body asks for one."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter."""

    name: str
    description: str
    values: tuple[str, ...] = ()
    """The allowed values; empty means any text."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Handlers by method, and all paths under which they are served."""

    paths: tuple[str, ...]
    handlers: Mapping[str, Handler]
    admin_methods: frozenset[str] = frozenset()
    """Methods that change the server. Of named keys, only an admin's may use them."""
    bodies: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    """The pydantic models of bodies, by method."""
    media: tuple[str, ...] = (JSON,)
    """Media types of an answer."""
    query: tuple[Query, ...] = ()
    is_queued: bool = False
    """Whether requests wait for a slot; such requests are refused while the queue is full."""
    is_counted: bool = True
    """Whether a POST counts against its key's limits. What only acts on work of the key doesn't."""
    by_model: bool = False
    """Whether requests are about a model, which their body or query may name."""


def get(
    handler: Handler,
    *paths: str,
    media: tuple[str, ...] = (JSON,),
    query: tuple[Query, ...] = (),
    by_model: bool = False,
    for_admins: bool = False,
) -> Endpoint:
    """An endpoint for GET."""
    return Endpoint(
        paths,
        {"GET": handler},
        admin_methods=frozenset({"GET"}) if for_admins else frozenset(),
        media=media,
        query=query,
        by_model=by_model,
    )


def post(
    handler: Handler,
    *paths: str,
    body: type[BaseModel] | None = None,
    media: tuple[str, ...] = (JSON,),
    query: tuple[Query, ...] = (),
    is_queued: bool = False,
    is_counted: bool = True,
    by_model: bool = False,
    for_admins: bool = False,
) -> Endpoint:
    """An endpoint for POST with a body that `body` describes. What is queued is about a model."""
    return Endpoint(
        paths,
        {"POST": handler},
        admin_methods=frozenset({"POST"}) if for_admins else frozenset(),
        bodies={} if body is None else {"POST": body},
        media=media,
        query=query,
        is_queued=is_queued,
        is_counted=is_counted,
        by_model=by_model or is_queued,
    )


def to_routes(endpoints: Iterable[Endpoint], prefix: str) -> list[Route]:
    """One Starlette route for each path, so that a 405 names all methods of the path."""
    return [
        Route(prefix + path, _dispatcher(endpoint), methods=list(endpoint.handlers))
        for endpoint in endpoints
        for path in endpoint.paths
    ]


def uncounted(endpoints: Iterable[Endpoint], prefix: str) -> list[re.Pattern[str]]:
    """The paths whose requests don't count against a key's limits."""
    free = [endpoint for endpoint in endpoints if not endpoint.is_counted]
    return [compile_path(prefix + path)[0] for endpoint in free for path in endpoint.paths]


def _dispatcher(endpoint: Endpoint) -> Handler:
    """The wrappers of a handler; the last one that is added here is the first that is called."""
    handlers = dict(endpoint.handlers)
    if endpoint.is_queued:
        handlers = {method: _unless_full(handler) for method, handler in handlers.items()}
    if endpoint.by_model:
        may_stream = EVENTS in endpoint.media
        handlers = {
            method: for_model(handler, may_stream=may_stream)
            for method, handler in handlers.items()
        }
    for method in endpoint.admin_methods:
        handlers[method] = _for_admins(handlers[method])
    if len(handlers) == 1:
        return next(iter(handlers.values()))

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return dispatch


def _for_admins(handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        access_record(request.scope).check_admin()
        return await handler(request)

    return checked


def _unless_full(handler: Handler) -> Handler:
    """Refuse before the body is read and its prompt tokenized, so that a flood costs little."""

    async def checked(request: Request) -> Response:
        with model_context(request).enter_queue(access_record(request.scope).tenant):
            return await handler(request)

    return checked
