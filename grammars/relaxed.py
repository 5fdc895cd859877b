"""Relaxes JSON Schemas: what can't be enforced is left out, and the rest is enforced."""

from __future__ import annotations

import copy
from typing import Any

from grammars import compiler
from grammars.errors import GrammarError, UnsupportedKeyword, WrongSchema

Schema = dict[str, Any]

MAX_REMOVED = 100
"""Maximum number of keywords that are left out one by one. A schema with more is left out whole."""

_SUSPECTS = (
    "pattern",
    "oneOf",
    "minProperties",
    "maxProperties",
    "multipleOf",
    "patternProperties",
    "allOf",
    "anyOf",
)
"""Keywords with which llguidance may refuse a schema, the likeliest first."""


def relaxed(schema: Schema) -> tuple[Schema, list[str]]:
    """The part of an object's schema that can be enforced, and the places of what is left out.

    Whatever is valid for the schema stays valid, except among alternatives of `oneOf`. Raises
    `WrongSchema` for a schema that breaks the rules of JSON Schema.
    """
    kept: Schema = copy.deepcopy(schema)
    places: list[str] = []
    while len(places) < MAX_REMOVED:
        try:
            compiler.from_json_schema(kept)
        except WrongSchema:
            raise
        except GrammarError as error:
            place = _remove(kept, error)
            if place is None:
                break
            places.append(place)
        else:
            return kept, places
    return {"type": "object"}, [""]


def _remove(schema: Schema, error: GrammarError) -> str | None:
    """Remove what the error is about; return its place. None if it can't be removed."""
    path = error.path or ""
    if isinstance(error, UnsupportedKeyword):
        outer, _, keyword = path.rpartition("/")
        keyword = keyword.replace("~1", "/").replace("~0", "~")
    else:
        outer, keyword = path, ""
    holder = _at(outer, schema)
    if not isinstance(holder, dict) or (not keyword and _takes_long(error)):
        return None
    keyword = keyword or _suspect(holder, error.message)
    if keyword not in holder:
        return None
    value = holder.pop(keyword)
    if keyword == "oneOf" and "anyOf" not in holder:
        holder["anyOf"] = value
    return f"{outer}/{keyword}"


def _suspect(holder: Schema, message: str) -> str:
    """The keyword that llguidance's message is about, as far as the message tells."""
    present = [keyword for keyword in _SUSPECTS if keyword in holder]
    named = [keyword for keyword in present if keyword in message]
    return next(iter([*named, *present]), "")


def _takes_long(error: GrammarError) -> bool:
    return "takes" in error.message


def _at(pointer: str, schema: Schema) -> object:
    node: Any = schema
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return node
