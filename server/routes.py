"""Routes from a table of paths and methods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Handlers by method, under all paths by which clients know them."""

    paths: tuple[str, ...]
    handlers: Mapping[str, Handler]


def get(handler: Handler, *paths: str) -> Endpoint:
    """An endpoint to read."""
    return Endpoint(paths, {"GET": handler})


def post(handler: Handler, *paths: str) -> Endpoint:
    """An endpoint to send a body to."""
    return Endpoint(paths, {"POST": handler})


def to_routes(endpoints: Iterable[Endpoint], prefix: str) -> list[Route]:
    """One Starlette route a path, so that a wrong method is told of all that would be right."""
    return [
        Route(prefix + path, _dispatcher(endpoint), methods=list(endpoint.handlers))
        for endpoint in endpoints
        for path in endpoint.paths
    ]


def _dispatcher(endpoint: Endpoint) -> Handler:
    handlers = dict(endpoint.handlers)
    if len(handlers) == 1:
        return next(iter(handlers.values()))

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return dispatch
