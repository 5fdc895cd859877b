"""The `finish_reason` of a choice: why the answer ended, in OpenAI's words."""

from __future__ import annotations

from server.generation.types import Ended, StopCause


def finish_reason(ended: Ended, *, called: bool = False) -> str:
    """`length` for a limit or a full context, else `tool_calls` or `stop`."""
    if ended.cause is StopCause.LIMIT:
        return "length"
    return "tool_calls" if called else "stop"
