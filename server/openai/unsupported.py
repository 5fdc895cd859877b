"""Fields of OpenAI's API that this server can't honour, and their harmless values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import InvalidRequest
from server.requests.unsupported_fields import Unsupported

CHAT_FIELDS: Mapping[str, Unsupported] = {
    "audio": Unsupported((), "the model writes text only"),
    "modalities": Unsupported((["text"],), "the model writes text only"),
    "prediction": Unsupported((), "predicted outputs are not used"),
    "web_search_options": Unsupported((), "there is no web search"),
    "functions": Unsupported(([],), "use 'tools' instead"),
    "function_call": Unsupported(("none",), "use 'tool_choice' instead"),
    "reasoning_control": Unsupported((False,), "thinking can't be ended from outside"),
}

COMPLETION_FIELDS: Mapping[str, Unsupported] = {
    "suffix": Unsupported(("",), "text can only be continued at its end"),
}


def refuse(body: Any, fields: Mapping[str, Unsupported]) -> None:
    """Raise `InvalidRequest` for the first field that asks for what isn't there."""
    if not isinstance(body, dict):
        return
    for name, field in fields.items():
        value = body.get(name)
        if value is not None and value not in field.harmless:
            raise InvalidRequest(f"'{name}' is not supported: {field.reason}", param=name)
