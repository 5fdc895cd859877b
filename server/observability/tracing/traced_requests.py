"""ASGI middleware: a span for each HTTP request, in the client's trace if its headers name one."""

from __future__ import annotations

from collections.abc import Collection

from opentelemetry.propagate import extract
from opentelemetry.semconv.attributes import (
    client_attributes,
    error_attributes,
    http_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, use_span
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.observability.request_id import current_request_id
from server.observability.tracing.operation import operation, operation_of

REQUEST_ID = "llamapack.request_id"
"""The id in the X-Request-Id header, in logs and in exemplars."""


class TracedRequests:
    """The span lasts as long as the answer, also if the answer is a stream."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer, untraced: Collection[str] = ()) -> None:
        """Requests for the `untraced` paths get no span."""
        self._app = app
        self._tracer = tracer
        self._untraced = frozenset(untraced)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._untraced:
            return await self._app(scope, receive, send)
        operation.set(operation_of(scope["path"]))
        span = self._start(scope)

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note_status(span, message["status"])
            await send(message)

        # The spans of answers look for the current span when they begin.
        with use_span(span, end_on_exit=True, record_exception=False):
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                _note_route(span, scope)
        return None

    def _start(self, scope: Scope) -> Span:
        headers = Headers(scope=scope)
        attributes = {
            http_attributes.HTTP_REQUEST_METHOD: scope["method"],
            url_attributes.URL_PATH: scope["path"],
            url_attributes.URL_SCHEME: scope["scheme"],
            client_attributes.CLIENT_ADDRESS: scope["client"][0] if scope.get("client") else "",
            user_agent_attributes.USER_AGENT_ORIGINAL: headers.get("user-agent", ""),
            REQUEST_ID: current_request_id.get(),
        }
        return self._tracer.start_span(
            scope["method"],
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes={name: value for name, value in attributes.items() if value},
        )


def _note_status(span: Span, status: int) -> None:
    span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, status)
    if status >= 500:
        span.set_attribute(error_attributes.ERROR_TYPE, str(status))
        span.set_status(Status(StatusCode.ERROR))


def _note_route(span: Span, scope: Scope) -> None:
    """Name the span after the route. A span's name must not hold text that clients chose."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute(http_attributes.HTTP_ROUTE, route)
