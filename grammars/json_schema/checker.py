"""Checks JSON Schemas: what can't be enforced is refused by name and place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from grammars import limits
from grammars.errors import GrammarError, UnsupportedKeyword, WrongSchema
from grammars.json_schema.closed import close_objects
from grammars.json_schema.ecma import from_ecma
from grammars.json_schema.endless import EndlessSearch
from grammars.json_schema.expanded import expanded_bytes
from grammars.json_schema.keywords import (
    APPLICATORS,
    COUNTS,
    EXACT_FORMATS,
    FORMATS,
    FREE_FORMATS,
    MAX_FORMAT_LENGTHS,
    SUPPORTED,
    UNSUPPORTED,
    VALUES,
    Nesting,
    has_no_effect,
    intended_keyword,
)
from grammars.json_schema.places import ROOT, Place, escape

Schema = dict[str, Any]

_FIXED_WHITESPACE = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
}
"""One spelling of everything between two values, so that a schema's fixed parts can be forced."""

_OPTIONS = frozenset(
    {
        "coerce_one_of",
        "item_separator",
        "key_separator",
        "whitespace_flexible",
        "whitespace_pattern",
    }
)
"""The options that a schema's `x-guidance` may set. The other options would silently drop keywords.
"""


MAX_INTEGER = 10**18
"""The largest integer, and the negative of the smallest, where a schema sets no bound."""


def check_schema(schema: object, *, is_open: bool = False) -> str:
    """Check a schema and return it as compact JSON text for llguidance.

    `schema` is a parsed JSON value. With `is_open`, an object may have undeclared properties unless
    its schema forbids them. Raises `GrammarError` with a JSON pointer.
    """
    if not isinstance(schema, (dict, bool)):
        raise WrongSchema("a schema is an object or a boolean", "")
    if schema is False:
        raise GrammarError("nothing is valid for the schema false", "")
    check_size(schema)
    root: Schema = {} if schema is True else schema
    kept = _Checker(root, is_open=is_open).checked()
    kept["x-guidance"] = {**_FIXED_WHITESPACE, **_options(root)}
    if expanded_bytes(kept) <= limits.MAX_SCHEMA_BYTES:
        text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
        if len(text.encode()) <= limits.MAX_SCHEMA_BYTES:
            return text
    raise GrammarError(f"the schema has more than {limits.MAX_SCHEMA_BYTES} bytes", "")


def subschemas(schema: object) -> Iterator[tuple[str, object]]:
    """The schemas directly inside a schema, each with its place relative to the outer one."""
    if not isinstance(schema, dict):
        return
    for keyword, below in APPLICATORS.items():
        value = schema.get(keyword)
        if isinstance(value, list) and (below is Nesting.SCHEMAS or keyword == "items"):
            yield from ((f"/{keyword}/{index}", item) for index, item in enumerate(value))
        elif isinstance(value, dict) and below is Nesting.MAP:
            yield from ((f"/{keyword}/{escape(name)}", item) for name, item in value.items())
        elif value is not None and below is Nesting.SCHEMA:
            yield f"/{keyword}", value


def check_size(schema: object) -> None:
    """Bound the size of everything that later steps take time for. Raises `GrammarError`."""
    todo: list[tuple[object, Place, int]] = [(schema, ROOT, 1)]
    num_nodes = num_bytes = 0
    while todo:
        node, place, depth = todo.pop()
        num_nodes += 1
        if num_nodes > limits.MAX_SCHEMA_NODES:
            raise GrammarError(f"the schema has more than {limits.MAX_SCHEMA_NODES} values", "")
        if depth > limits.MAX_SCHEMA_DEPTH:
            path = str(place)[:200]
            raise GrammarError(f"nested deeper than {limits.MAX_SCHEMA_DEPTH} levels", path)
        num_bytes += _check_scalar(node, place)
        if num_bytes > limits.MAX_SCHEMA_BYTES:
            raise GrammarError(f"the schema has more than {limits.MAX_SCHEMA_BYTES} bytes", "")
        if isinstance(node, dict):
            num_bytes += sum(_check_scalar(key, place) for key in node)
            todo.extend((item, place / key, depth + 1) for key, item in node.items())
        elif isinstance(node, list):
            todo.extend((item, place / i, depth + 1) for i, item in enumerate(node))


def _check_scalar(node: object, place: Place) -> int:
    """The size of a text in bytes; 0 for other values. Raises `GrammarError` for values that JSON
    can't express."""
    if isinstance(node, str):
        try:
            return len(node.encode())
        except UnicodeEncodeError:
            raise WrongSchema("a text that is not valid Unicode", str(place)) from None
    if isinstance(node, float) and not math.isfinite(node):
        raise WrongSchema(f"{node} is not a JSON number", str(place))
    if node is not None and not isinstance(node, (bool, int, float, dict, list)):
        raise WrongSchema(f"a {type(node).__name__} is not a JSON value", str(place))
    return 0


def _options(root: Schema) -> Mapping[str, object]:
    options = root.get("x-guidance", {})
    if not isinstance(options, dict):
        raise WrongSchema("must be an object", "/x-guidance")
    for name in options:
        if name not in _OPTIONS:
            raise UnsupportedKeyword(
                f"the option {name!r} is not supported", f"/x-guidance/{escape(name)}"
            )
    return options


class _Checker:
    """Visits the schemas of a document, and the schemas that references lead to."""

    def __init__(self, root: Schema, *, is_open: bool) -> None:
        self._root = root
        self._is_open = is_open
        self._has_ids = False

    def checked(self) -> Schema:
        """The document without keywords that have no effect. Raises `GrammarError`."""
        document: Schema = json.loads(json.dumps(self._root))
        self._root = document
        self._has_ids = any(_names_itself(node) for node in _objects(document))
        todo: list[tuple[Place, object]] = [(ROOT, document)]
        seen: dict[int, Schema] = {}
        search = EndlessSearch()
        while todo:
            place, schema = todo.pop()
            if isinstance(schema, bool) or id(schema) in seen:
                continue
            if not isinstance(schema, dict):
                raise WrongSchema("a schema is an object or a boolean", str(place))
            seen[id(schema)] = schema
            self._check(place, schema)
            target = self._target(place, schema)
            if target is not None:
                todo.append(target)
            search.add(place, schema, target and target[1])
            todo.extend((place.below(step), below) for step, below in subschemas(schema))
        if (endless := search.first()) is not None:
            raise GrammarError("only infinite JSON is valid here", str(endless))
        for schema in seen.values():
            _translate_patterns(schema)
            _bound_integers(schema)
        if not self._is_open:
            close_objects(seen.values())
        return document

    def _check(self, place: Place, schema: Schema) -> None:
        replace_property_names(schema)
        for keyword in list(schema):
            if (reason := refusal(keyword, schema)) is not None:
                raise UnsupportedKeyword(reason, str(place / keyword))
            if keyword in UNSUPPORTED:
                if keyword not in ("if", "then", "else", "minContains", "maxContains"):
                    del schema[keyword]
            elif keyword in APPLICATORS:
                _check_applicator(keyword, schema[keyword], place)
            elif keyword in VALUES:
                is_right, what = VALUES[keyword]
                if not is_right(schema[keyword]):
                    raise WrongSchema(f"{keyword!r} must be {what}", str(place / keyword))
        if schema is not self._root and "$ref" in schema and _names_itself(schema):
            # Before draft 2019-09 a reference made `$id` void; since then it doesn't.
            raise GrammarError("'$id' is not supported beside '$ref'", str(place))
        _drop_ineffective(schema)
        _rewrite_format(place, schema)
        for keyword in COUNTS & schema.keys():
            schema[keyword] = int(schema[keyword])

    def _target(self, place: Place, schema: Schema) -> tuple[Place, object] | None:
        """The place and the schema that a `$ref` leads to, if they are in this document."""
        reference = schema.get("$ref")
        if reference is None:
            return None
        if not reference.startswith("#"):
            if not self._has_ids:
                message = f"{reference!r} is outside of this schema"
                raise UnsupportedKeyword(message, str(place / "$ref"))
            return None  # only llguidance knows how `$id` changes the reference
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            return None  # an anchor
        if self._has_ids:
            return None  # relative to the nearest `$id`
        return ROOT.below(pointer), self._resolve(pointer, place)

    def _resolve(self, pointer: str, place: Place) -> object:
        node: Any = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, ValueError, TypeError):
                message = f"'#{pointer}' does not exist"
                raise WrongSchema(message, str(place / "$ref")) from None
        return node


def _check_applicator(keyword: str, value: object, place: Place) -> None:
    match APPLICATORS[keyword]:
        case Nesting.MAP if not isinstance(value, dict):
            raise WrongSchema(f"{keyword!r} must be an object", str(place / keyword))
        case Nesting.SCHEMAS if not (isinstance(value, list) and value):
            message = f"{keyword!r} must be a list that is not empty"
            raise WrongSchema(message, str(place / keyword))
    if isinstance(value, dict) and keyword == "properties" and len(value) > limits.MAX_PROPERTIES:
        raise GrammarError(f"more than {limits.MAX_PROPERTIES} properties", str(place / keyword))


def refusal(keyword: str, schema: Schema) -> str | None:
    """Why a keyword of this schema can't be enforced; None if it can, or has no effect."""
    if keyword in UNSUPPORTED:
        if has_no_effect(keyword, schema):
            return None
        return f"the keyword {keyword!r} is not supported"
    if keyword in SUPPORTED or keyword == "id" or (name := intended_keyword(keyword)) is None:
        return None
    return f"{keyword!r} is no keyword; is {name!r} meant?"


def replace_property_names(schema: Schema) -> None:
    """Replace `propertyNames` by a supported keyword with the same meaning, if there is one."""
    names = schema.get("propertyNames")
    if not isinstance(names, dict) or schema.keys() & {"properties", "patternProperties"}:
        return
    kept = {key: value for key, value in names.items() if key not in ("type", "title")}
    if names.get("type", "string") != "string" or len(kept) != 1:
        return
    ((kind, value),) = kept.items()
    others = schema.get("additionalProperties", {})
    if kind == "enum" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        schema["properties"] = dict.fromkeys(value, others)
    elif kind == "pattern":
        schema["patternProperties"] = {value: others}
    else:
        return
    schema["additionalProperties"] = False
    del schema["propertyNames"]


def _drop_ineffective(schema: Schema) -> None:
    """Remove conditional keywords that have no effect because their partners are absent."""
    for keyword in ("if", "then", "else", "minContains", "maxContains"):
        schema.pop(keyword, None)


def _rewrite_format(place: Place, schema: Schema) -> None:
    """Replace a format by its pattern, remove it if it excludes nothing, or refuse it."""
    name = schema.get("format")
    if name in EXACT_FORMATS:
        del schema["format"]
        pattern = {"pattern": EXACT_FORMATS[name]}
        if "pattern" in schema:
            schema["allOf"] = [*schema.get("allOf", []), pattern]
        else:
            schema.update(pattern)
    if name in MAX_FORMAT_LENGTHS:
        limit = MAX_FORMAT_LENGTHS[name]
        schema["maxLength"] = min(schema.get("maxLength", limit), limit)
    if name is None or name in FORMATS:
        return
    types = schema.get("type", "string")
    if name in FREE_FORMATS or "string" not in (types if isinstance(types, list) else [types]):
        del schema["format"]  # formats of numbers only say how numbers are stored
    else:
        raise UnsupportedKeyword(f"the format {name!r} is not supported", str(place / "format"))


def _translate_patterns(schema: Schema) -> None:
    if "pattern" in schema:
        schema["pattern"] = from_ecma(schema["pattern"])
    if "patternProperties" in schema:
        patterns = schema["patternProperties"].items()
        schema["patternProperties"] = {from_ecma(pattern): below for pattern, below in patterns}


def _bound_integers(schema: Schema) -> None:
    """Let integers have 19 digits, where the schema sets no bound: some models write digits for
    ever."""
    kinds = schema.get("type")
    if kinds != "integer" and not (isinstance(kinds, list) and "integer" in kinds):
        return
    if isinstance(kinds, list) and "number" in kinds:
        return
    lower, upper = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
    if any(abs(schema.get(name, 0)) >= MAX_INTEGER for name in (*lower, *upper)):
        return  # whoever writes such numbers wants them
    if not schema.keys().isdisjoint(("enum", "const")):
        return
    if schema.keys().isdisjoint(upper):
        schema["maximum"] = MAX_INTEGER
    if schema.keys().isdisjoint(lower):
        schema["minimum"] = -MAX_INTEGER


def _names_itself(schema: Schema) -> bool:
    return any(isinstance(schema.get(keyword), str) for keyword in ("$id", "id"))


def _objects(node: object) -> Iterator[Schema]:
    """All objects in a JSON value."""
    todo: list[object] = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
