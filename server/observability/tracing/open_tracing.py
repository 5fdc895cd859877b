"""Opens tracing if the settings ask for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from starlette.middleware import Middleware

from config import ServeSettings
from server.generation.observed_generator import AnswerObserver
from server.generation.types import GenerationRequest
from server.startup import StartupError


class Tracing(Protocol):
    """Makes the spans of requests and answers."""

    def middleware(self, untraced: Collection[str]) -> Middleware:
        """A span for each HTTP request, except for the `untraced` paths."""
        ...

    def observe(self, model_name: str, request: GenerationRequest) -> AnswerObserver:
        """A span for each answer of a model."""
        ...

    def close(self) -> None:
        """Send the spans that are left."""
        ...


def open_tracing(settings: ServeSettings) -> Tracing | None:
    """None without an endpoint. Raises `StartupError` if OpenTelemetry is not installed."""
    if settings.otlp_traces_endpoint is None:
        return None
    try:
        from server.observability.tracing.opentelemetry_tracing import to_collector
    except ImportError as error:
        text = f"--otlp-traces-endpoint needs pip install 'llamapack[otel]': {error}"
        raise StartupError(text) from error
    return to_collector(settings.otlp_traces_endpoint)
