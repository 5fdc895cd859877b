"""The HTTP application: routes, middleware, and errors of routing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles

from config import ServeSettings
from config.units import MIB
from config.version import version
from server.access.audit_log import AuditLog
from server.access.authenticate import Authenticate
from server.access.cors import cors_middleware
from server.access.key_ring import KeyRing
from server.access.origins import AllowedOrigins
from server.access.record_access import RecordAccess
from server.access.token_summary import token_summary
from server.access.web_guard import WebGuard, checked_hosts
from server.anthropic import errors as anthropic_errors
from server.anthropic import routes as anthropic_routes
from server.app_state import AppState, keep_state, state_of
from server.catalog.model_fit import FitDesk
from server.catalog.pulls import Pulls
from server.context import ServerContext, SharedContext
from server.embeddings import routes as embedding_routes
from server.endpoints import Endpoint, to_routes, uncounted
from server.engine.machine_memory import usable_memory
from server.engine.unread_output import UnreadBudget
from server.errors import ApiError, InvalidRequest, MethodNotAllowed, NotFound
from server.http.body_budget import BodyBudget, BoundBodies
from server.http.content_encoding import DecodeBody
from server.http.drain import RefuseWhileDraining
from server.http.middleware import CatchErrors, LimitBody, RequestLog, RequireHost, error_response
from server.http.sse import frame
from server.http.turns import StartInTurns
from server.http.unread import BoundUnread
from server.llama_server import routes as llama_routes
from server.llama_server.root import get_root
from server.lm_studio import routes as lm_studio_routes
from server.observability.tracing.open_tracing import Tracing
from server.ollama import errors as ollama_errors
from server.ollama import routes as ollama_routes
from server.ollama.recipes import RecipeBook
from server.openai import routes as openai_routes
from server.openai.responses import errors as response_errors
from server.openai.responses import routes as response_routes
from server.openai.responses.background import Backgrounds
from server.openai.responses.store import ResponseStore
from server.openapi.endpoint import description_of
from server.page.serve import Page
from server.pool.downloads import server_downloads
from server.pool.interface import ModelPool
from server.pool.one import OneModel
from server.replica import routes as replica_routes
from server.room import routes as room_routes
from server.room.room import Room
from server.room.schema import ServerView

BODIES = 3
"""Bodies of the largest size that may be in memory at a time."""

_ERRORS: Mapping[str, Callable[[ApiError], Response]] = {
    anthropic_routes.PREFIX: anthropic_errors.error_response,
    response_routes.PREFIX: response_errors.error_response,
    **dict.fromkeys(lm_studio_routes.PREFIXES, error_response),
    ollama_routes.PREFIX: ollama_errors.error_response,
}
"""By the beginning of a path: dialects with errors of their own shape. The first match counts."""

_ERROR_FRAMES: Mapping[str, Callable[[ApiError], bytes]] = {
    anthropic_routes.PREFIX: anthropic_errors.error_frame,
    response_routes.PREFIX: response_errors.error_frame,
}
"""By the same: the event of an error in a stream that has no other event yet."""

ShapeT = TypeVar("ShapeT")

_Observers = tuple[AuditLog | None, Tracing | None]
"""What is written down of requests besides metrics."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def create_app(
    context: SharedContext,
    pool: ModelPool | None = None,
    *,
    keys: KeyRing | None = None,
    audit: AuditLog | None = None,
    tracing: Tracing | None = None,
    lifespan: Lifespan | None = None,
    is_local: bool = False,
) -> Starlette:
    """The application for the models of a pool; without one, for the model of the context.

    `keys` are all API keys that it accepts, if any.
    `is_local` tells that it listens on loopback addresses only.
    """
    settings = context.settings
    prefix = settings.api_prefix
    page = Page(prefix) if settings.ui and settings.path is None else None
    probes = [prefix + path for path in llama_routes.PUBLIC_PATHS]
    public = [*probes, *(page.public_paths if page is not None else ())]
    keys = KeyRing() if keys is None else keys
    endpoints = _endpoints(settings, page, needs_key=not keys.is_empty)
    app = Starlette(
        routes=[*to_routes(endpoints, prefix), *([] if page is None else [page.assets()])],
        middleware=_middleware(
            context, keys, endpoints, probes, public, (audit, tracing), is_local=is_local
        ),
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    # A client that asks for a wrong path gets a 404; a redirect would lose its body.
    app.router.redirect_slashes = False
    if settings.path is not None:
        app.router.default = _files(settings.path, prefix)
    pool = _only(context) if pool is None else pool
    keep_state(app, _state(context, pool, _room(context, pool, keys, is_local=is_local)))
    return app


def _middleware(
    context: SharedContext,
    keys: KeyRing,
    endpoints: Sequence[Endpoint],
    probes: Sequence[str],
    public: Sequence[str],
    observers: _Observers,
    *,
    is_local: bool,
) -> list[Middleware]:
    """All that a request passes on its way; the first is the outermost.

    The order is a security decision. `public` are the paths that need no key, and the `probes`
    among them are answered at once.
    """
    return [
        *_observed(context, probes, public, observers),
        *_guarded(context, keys, endpoints, public, is_local=is_local),
        *_bounded(context.settings),
    ]


def _observed(
    context: SharedContext, probes: Sequence[str], public: Sequence[str], observers: _Observers
) -> list[Middleware]:
    """What begins a request and writes down what became of it."""
    audit, tracing = observers
    return [
        # Before any work for a request. Probes come at once.
        Middleware(StartInTurns, at_once=probes),
        # So far up that everything below, refusals included, logs under the request's id.
        Middleware(RequestLog, on_end=context.metrics.observe_status, describe=token_summary),
        # Spans carry that id; they last as long as the whole rest of the request.
        *([] if tracing is None else [tracing.middleware(untraced=public)]),
        # Above whatever answers by itself: no answer or refusal goes without audit line and
        # rate headers. The log's id must be there already.
        Middleware(RecordAccess, audit=audit, unrecorded=public),
    ]


def _guarded(
    context: SharedContext,
    keys: KeyRing,
    endpoints: Sequence[Endpoint],
    public: Sequence[str],
    *,
    is_local: bool,
) -> list[Middleware]:
    """What turns away who may not come, and makes answers of errors."""
    settings, prefix = context.settings, context.settings.api_prefix
    return [
        # Above keys, because a preflight request carries none; above errors, because a page
        # can read a refusal only with CORS headers on it.
        cors_middleware(settings),
        # Turns what is raised below into answers, so all that raises stands below.
        Middleware(
            CatchErrors,
            on_refusal=context.metrics.observe_rejection,
            respond=partial(_error_response, prefix),
            drain=context.drain,
        ),
        # Before any work: proxies and servers disagree about requests with two Host headers.
        Middleware(RequireHost),
        # Before all that a page of another site could make the server do.
        Middleware(
            WebGuard,
            hosts=lambda: checked_hosts(settings, is_open=is_local and keys.is_empty),
            origins=AllowedOrigins(settings.cors_origins),
            is_open=lambda: keys.is_empty,
        ),
        # Before keys: a server that ends answers 503 at once, without work for the request.
        Middleware(RefuseWhileDraining, drain=context.drain),
        # Before the body: without a key, or above the key's limits, no byte of it is read.
        Middleware(
            Authenticate,
            keys=keys,
            public_paths=public,
            uncounted=uncounted(endpoints, prefix),
        ),
    ]


def _bounded(settings: ServeSettings) -> list[Middleware]:
    """What bounds the bytes of those who were let in."""
    most, unread = settings.max_body_size * MIB, settings.max_answer_size * MIB
    return [
        # Below keys, and above decoding: counts the bytes that the client sends.
        Middleware(
            LimitBody,
            max_bytes=most,
            read_seconds=settings.timeout,
        ),
        # Below whatever refuses: counts the answers of those who were let in.
        Middleware(BoundUnread, budget=UnreadBudget(unread, 2 * unread)),
        # Handlers read plain bytes, and a small compressed body can't become a huge one.
        Middleware(DecodeBody, max_bytes=most),
        # Last: counts the bytes that handlers get.
        Middleware(BoundBodies, budget=BodyBudget(BODIES * most)),
    ]


def _state(context: SharedContext, pool: ModelPool, room: Room) -> AppState:
    """What handlers work with."""
    settings = context.settings
    downloads = server_downloads(settings, pool)
    return AppState(
        context=context,
        pool=pool,
        downloads=downloads,
        pulls=Pulls(downloads, pool),
        fit_desk=FitDesk(),
        responses=ResponseStore(settings.responses_store),
        backgrounds=Backgrounds(settings.max_answer_size * MIB),
        recipes=RecipeBook(settings.made_models),
        room=room,
        error_frame=partial(_error_frame, settings.api_prefix),
    )


def _room(context: SharedContext, pool: ModelPool, keys: KeyRing, *, is_local: bool) -> Room:
    """What shows the server at work. Texts are shown to admins, and on this machine alone."""
    memory = usable_memory()

    def server() -> ServerView:
        return ServerView(
            version=version(),
            started=float(context.created),
            has_keys=not keys.is_empty,
            shows_texts=is_local or not keys.is_empty,
            has_one_model=pool.only is not None,
            memory_bytes=memory,
        )

    return Room(pool, server, is_over=lambda: context.drain.has_begun)


def _only(context: SharedContext) -> ModelPool:
    """The pool of the one model that the context is about."""
    assert isinstance(context, ServerContext), "several models need a pool"
    return OneModel(context)


def _endpoints(settings: ServeSettings, page: Page | None, *, needs_key: bool) -> list[Endpoint]:
    """All endpoints, and the endpoint that describes them; the operator's page replaces ours."""
    root = llama_routes.ROOT if page is None else page.root(get_root)
    described = [
        *([] if settings.path is not None else [root]),
        *llama_routes.ENDPOINTS,
        *openai_routes.ENDPOINTS,
        *response_routes.ENDPOINTS,
        *anthropic_routes.ENDPOINTS,
        *ollama_routes.ENDPOINTS,
        *lm_studio_routes.ENDPOINTS,
        *embedding_routes.ENDPOINTS,
        *room_routes.ENDPOINTS,
        *replica_routes.ENDPOINTS,
    ]
    return [*described, description_of(described, settings.api_prefix, needs_key=needs_key)]


def _files(folder: Path, prefix: str) -> Router:
    """The operator's own files, for the paths that no endpoint has."""
    return Router([Mount(prefix or "/", StaticFiles(directory=folder, html=True))])


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors, which concern routes, in our shape."""
    assert isinstance(error, HTTPException)
    prefix = state_of(request).context.settings.api_prefix
    return _error_response(prefix, request.url.path, _api_error(request, error))


def _error_response(prefix: str, path: str, error: ApiError) -> Response:
    """The response for an error, in the shape of the dialect that has this path."""
    return _of_dialect(_ERRORS, prefix, path, error_response)(error)


def _error_frame(prefix: str, path: str, error: ApiError) -> bytes:
    """The event for an error, in the shape of the dialect that has this path."""
    return _of_dialect(_ERROR_FRAMES, prefix, path, _plain_frame)(error)


def _plain_frame(error: ApiError) -> bytes:
    return frame(error.body())


def _of_dialect(
    table: Mapping[str, Callable[[ApiError], ShapeT]],
    prefix: str,
    path: str,
    default: Callable[[ApiError], ShapeT],
) -> Callable[[ApiError], ShapeT]:
    own = f"{path.removeprefix(prefix)}/"
    return next((one for start, one in table.items() if own.startswith(f"{start}/")), default)


def _api_error(request: Request, error: HTTPException) -> ApiError:
    path = request.url.path
    if error.status_code == 404:
        return NotFound(f"there is no {path} on this server")
    if error.status_code == 405:
        methods = (error.headers or {}).get("Allow", "").split(", ")
        allowed = ", ".join(sorted(methods))
        return MethodNotAllowed(f"{path} takes {allowed}, not {request.method}", allowed=allowed)
    return InvalidRequest(error.detail)
