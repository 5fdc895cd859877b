"""Refusal of known fields that this server can't honour, unless their value asks for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A field that is refused unless its value is one of `harmless`."""

    harmless: tuple[Any, ...]
    reason: str


LLAMA_SERVER_FIELDS: Mapping[str, Unsupported] = {
    "multimodal_data": Unsupported(([],), "the model reads text only"),
}
"""Refused in every dialect."""


def refuse_unsupported(body: Mapping[str, Any], fields: Mapping[str, Unsupported]) -> None:
    """Raise `InvalidRequest` for the first field with another value than its harmless ones."""
    for name, field in fields.items():
        value = body.get(name)
        if value is not None and value not in field.harmless:
            raise InvalidRequest(f"'{name}' is not supported: {field.reason}", param=name)
