"""Routes from a table of paths and methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.access.access_record import access_record

JSON = "application/json"
PLAIN_TEXT = "text/plain"
STREAMABLE = (JSON, "text/event-stream")
"""An answer that comes as events when the body asks for a stream."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter behind the path's question mark."""

    name: str
    description: str
    values: tuple[str, ...] = ()
    """All that it may be; nothing means any text."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Handlers by method, under all paths by which clients know them."""

    paths: tuple[str, ...]
    handlers: Mapping[str, Handler]
    admin_methods: frozenset[str] = frozenset()
    """Those that change the server: of named keys, only an admin's may use them."""
    bodies: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    """The models of the bodies by method."""
    media: tuple[str, ...] = (JSON,)
    """What an answer may be."""
    query: tuple[Query, ...] = ()
    is_queued: bool = False
    """Whether what is asked for waits for a slot: refused while the queue is full."""


def get(handler: Handler, *paths: str, media: tuple[str, ...] = (JSON,)) -> Endpoint:
    """An endpoint to read."""
    return Endpoint(paths, {"GET": handler}, media=media)


def post(
    handler: Handler,
    *paths: str,
    body: type[BaseModel] | None = None,
    media: tuple[str, ...] = (JSON,),
    is_queued: bool = False,
) -> Endpoint:
    """An endpoint to send a body to, which `body` describes."""
    bodies = {} if body is None else {"POST": body}
    return Endpoint(paths, {"POST": handler}, bodies=bodies, media=media, is_queued=is_queued)


def to_routes(endpoints: Iterable[Endpoint], prefix: str) -> list[Route]:
    """One Starlette route a path, so that a wrong method is told of all that would be right."""
    return [
        Route(prefix + path, _dispatcher(endpoint), methods=list(endpoint.handlers))
        for endpoint in endpoints
        for path in endpoint.paths
    ]


def _dispatcher(endpoint: Endpoint) -> Handler:
    handlers = {
        method: _for_admins(handler) if method in endpoint.admin_methods else handler
        for method, handler in endpoint.handlers.items()
    }
    if endpoint.is_queued:
        handlers = {method: _unless_full(handler) for method, handler in handlers.items()}
    if len(handlers) == 1:
        return next(iter(handlers.values()))

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return dispatch


def _for_admins(handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        key = access_record(request.scope).key
        if key is not None:
            key.check_admin()
        return await handler(request)

    return checked


def _unless_full(handler: Handler) -> Handler:
    """Refuses before the body is read and its prompt tokenized, so that a flood costs little."""

    async def checked(request: Request) -> Response:
        key = access_record(request.scope).key
        with request.app.state.context.enter_queue("" if key is None else key.name):
            return await handler(request)

    return checked
