"""Relaxes JSON Schemas: what can't be enforced is left out, and the rest is enforced."""

from __future__ import annotations

import copy
from typing import Any

from grammars import compiler, limits
from grammars.errors import GrammarError, TooCostly, UnsupportedKeyword, WrongSchema
from grammars.json_schema.checker import (
    check_size,
    refusal,
    replace_property_names,
    subschemas,
)
from grammars.json_schema.expanded import expanded_bytes
from grammars.json_schema.places import ROOT, Place

Schema = dict[str, Any]

MAX_FAULTS = 20
"""Maximum number of faults that are found by compiling the schema. Each of them takes as long as a
check of the whole schema. A schema with more faults is left out whole."""

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
    try:
        check_size(schema)
    except WrongSchema:
        raise
    except GrammarError:
        return {"type": "object"}, [""]
    kept: Schema = copy.deepcopy(schema)
    places = _remove_unsupported(kept)
    if expanded_bytes(kept) > limits.MAX_SCHEMA_BYTES:  # names share a schema, and it is large
        return {"type": "object"}, [""]
    for _ in range(MAX_FAULTS):
        try:
            compiler.from_json_schema(kept)
        except WrongSchema:
            raise
        except GrammarError as error:
            removed = _remove(kept, error)
            if removed is None:
                break
            places.append(removed)
        else:
            return kept, places
    return {"type": "object"}, [""]


def _remove_unsupported(schema: Schema) -> list[str]:
    """Remove all keywords that are never enforced; return their places."""
    places: list[str] = []
    todo: list[tuple[Place, object]] = [(ROOT, schema)]
    seen: set[int] = set()
    while todo:
        place, node = todo.pop()
        if id(node) in seen:  # names of properties that share one schema
            continue
        if isinstance(node, dict):
            seen.add(id(node))
            replace_property_names(node)
            for keyword in list(node):
                if refusal(keyword, node) is not None:
                    del node[keyword]
                    places.append(str(place / keyword))
        todo += [(place.below(step), below) for step, below in subschemas(node)]
    return places


def _remove(schema: Schema, error: GrammarError) -> str | None:
    """Remove what the error is about; return its place. None if it can't be removed."""
    path = error.path or ""
    keyword = ""
    if isinstance(error, UnsupportedKeyword):
        path, _, keyword = path.rpartition("/")
    holder = _at(path, schema)
    if not isinstance(holder, dict) or isinstance(error, TooCostly):
        return None
    keyword = keyword or _suspect(holder, error.message)
    if keyword not in holder:
        return None
    value = holder.pop(keyword)
    if keyword == "oneOf" and "anyOf" not in holder:
        holder["anyOf"] = value
    return f"{path}/{keyword}"


def _suspect(holder: Schema, message: str) -> str:
    """The keyword that llguidance's message is about, as far as the message tells."""
    if "$schema" in holder and message.startswith("Resource"):
        return "$schema"  # a dialect with a name that llguidance doesn't know
    present = [keyword for keyword in _SUSPECTS if keyword in holder]
    named = [keyword for keyword in present if keyword in message]
    return next(iter([*named, *present]), "")


def _at(pointer: str, schema: Schema) -> object:
    node: Any = schema
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(key)] if isinstance(node, list) else node[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return node
