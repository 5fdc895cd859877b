"""The operation of a request, in the words of OpenTelemetry's conventions."""

from __future__ import annotations

from contextvars import ContextVar

TEXT_COMPLETION = "text_completion"

operation: ContextVar[str] = ContextVar("operation", default=TEXT_COMPLETION)
"""The operation of the request that this task works for."""


def operation_of(path: str) -> str:
    """The operation of a path, with any prefix."""
    return "chat" if path.endswith("/chat/completions") else TEXT_COMPLETION
