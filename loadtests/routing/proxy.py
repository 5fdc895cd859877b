"""The precise router as a web server: requests and streams go through it unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from loadtests.routing.replicas import TIMEOUT, Replica
from loadtests.routing.router import Precise

FIND_SECONDS = 0.3
REFUSALS = (429, 503)
"""Nothing was computed, so another replica may be asked."""

_OWN_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding"})
"""Headers of one connection, which are made anew for the other one."""

Find = Callable[[], Awaitable[Sequence[Replica]]]
"""Which replicas there are now. Raises `httpx.HTTPError` if nobody can tell."""


class Proxy:
    """Passes requests on, to another replica if the chosen one is away or refuses."""

    def __init__(self, find: Find) -> None:
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(timeout=TIMEOUT, limits=limits)
        self._router = Precise(self._client, random.Random())
        self._find = find

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Follow the replicas while the block runs."""
        tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._router.watch())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._router.close()
            await self._client.aclose()

    async def health(self, request: Request) -> Response:
        """200 once there is a replica."""
        return Response(status_code=200 if self._router.replicas else 503)

    async def pass_on(self, request: Request) -> Response:
        """Send a request to the best replica, and its answer back."""
        body = await request.body()
        tried: set[str] = set()
        refusal: Response = JSONResponse({"error": {"message": "no replica"}}, 503)
        while replica := await self._router.choose(request.url.path, body, without=tried):
            tried.add(replica.name)
            try:
                answer = await self._client.send(self._copy(request, body, replica), stream=True)
            except httpx.TransportError as error:
                refusal = JSONResponse({"error": {"message": str(error)}}, 502)
                continue
            if answer.status_code not in REFUSALS:
                return StreamingResponse(
                    _relay(answer), answer.status_code, _passed(answer.headers)
                )
            content = await answer.aread()
            refusal = Response(content, answer.status_code, _passed(answer.headers))
        return refusal

    def _copy(self, request: Request, body: bytes, replica: Replica) -> httpx.Request:
        url = httpx.URL(replica.url).copy_with(
            path=request.url.path, query=request.url.query.encode()
        )
        headers = _passed(request.headers)
        return self._client.build_request(request.method, url, headers=headers, content=body)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await self._router.follow(await self._find())
            await asyncio.sleep(FIND_SECONDS)


def router_app(find: Find, routes: Sequence[Route] = ()) -> Starlette:
    """The web application of a router over the replicas that `find` names."""
    proxy = Proxy(find)
    routes = [
        *routes,
        Route("/router/health", proxy.health),
        Route("/{path:path}", proxy.pass_on, methods=["GET", "POST", "DELETE"]),
    ]
    return Starlette(routes=routes, lifespan=proxy.running)


async def _relay(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS}
