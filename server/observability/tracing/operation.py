"""What kind of generation a request asks for, in the conventions' words."""

from __future__ import annotations

from contextvars import ContextVar

TEXT_COMPLETION = "text_completion"

operation: ContextVar[str] = ContextVar("operation", default=TEXT_COMPLETION)
"""Of the request that this task works for."""


def operation_of(path: str) -> str:
    """By the path, under whatever prefix it is served."""
    return "chat" if path.endswith("/chat/completions") else TEXT_COMPLETION
