"""What of JSON Schema is honoured; everything else is refused by name and place."""

from __future__ import annotations

import json

from grammars import limits
from grammars.errors import GrammarError

_FIXED_WHITESPACE = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
}
"""One spelling of everything between two values, so that a schema's fixed parts are forced."""


def check_schema(schema: object) -> str:
    """Return the schema as compact JSON text, or raise `GrammarError`."""
    if not isinstance(schema, (dict, bool)):
        raise GrammarError("a schema is an object or a boolean")
    root = {} if schema is True else {"not": {}} if schema is False else schema
    options = {**_FIXED_WHITESPACE, **root.get("x-guidance", {})}
    text = json.dumps({**root, "x-guidance": options}, separators=(",", ":"))
    if len(text) > limits.MAX_SCHEMA_BYTES:
        raise GrammarError("the schema is too large")
    return text
