"""Makes and sends spans with OpenTelemetry's SDK: one provider for the server's life."""

from __future__ import annotations

import threading
from collections.abc import Collection

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from starlette.middleware import Middleware

from config.version import version
from server.generation.types import GenerationRequest
from server.observability.tracing.answer_span import AnswerSpan
from server.observability.tracing.traced_requests import TracedRequests

CLOSE_SECONDS = 2.0
"""How long a collector that doesn't answer may hold up the server's end."""

MAX_ATTRIBUTE_CHARS = 1024
"""Characters of an attribute. Clients choose some, such as the path, and thousands of spans wait
for the collector."""


class OpenTelemetryTracing:
    """Implements `Tracing`."""

    def __init__(self, exporter: SpanExporter) -> None:
        """`exporter` gets the spans after their end, in batches, from a thread of its own."""
        self._exporter = exporter
        limits = SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE_CHARS)
        self._provider = TracerProvider(resource=_resource(), span_limits=limits)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("llamapack", version("llamapack"))

    def middleware(self, untraced: Collection[str]) -> Middleware:
        """A span for each HTTP request, except for the `untraced` paths."""
        return Middleware(TracedRequests, tracer=self._tracer, untraced=untraced)

    def observe(self, model_name: str, request: GenerationRequest) -> AnswerSpan:
        """A span for each answer of a model."""
        return AnswerSpan(self._tracer, model_name, request)

    def close(self) -> None:
        """Send the spans that are left, for at most `CLOSE_SECONDS`."""
        in_time = threading.Timer(CLOSE_SECONDS, self._exporter.shutdown)
        in_time.start()
        self._provider.shutdown()
        in_time.cancel()


def to_collector(endpoint: str) -> OpenTelemetryTracing:
    """Spans go to a collector over OTLP and HTTP.

    Headers, time limits, sampling and the service's name come from OpenTelemetry's variables.
    """
    return OpenTelemetryTracing(OTLPSpanExporter(endpoint=endpoint))


def _resource() -> Resource:
    """The service's attributes from OpenTelemetry's variables, with our name as the default."""
    ours = Resource({SERVICE_NAME: "llamapack", SERVICE_VERSION: version("llamapack")})
    given = Resource.create()
    if str(given.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return given.merge(ours)
    return ours.merge(given)
