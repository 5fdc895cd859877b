"""OpenAI's fields of chats that this server can't honour, with their harmless values."""

from __future__ import annotations

from collections.abc import Mapping

from server.requests.unsupported_fields import LLAMA_SERVER_FIELDS, Unsupported

CHAT_FIELDS: Mapping[str, Unsupported] = {
    "audio": Unsupported((), "the model writes text only"),
    "modalities": Unsupported((["text"],), "the model writes text only"),
    "prediction": Unsupported((), "predicted outputs are not used"),
    "web_search_options": Unsupported((), "there is no web search"),
    "functions": Unsupported(([],), "use 'tools' instead"),
    "function_call": Unsupported(("none",), "use 'tool_choice' instead"),
    "n_indent": Unsupported((0,), "chats have no limit by indentation"),
    **LLAMA_SERVER_FIELDS,
}
