"""Reads a JSON Schema as alternatives of objects, for notations that write property by property."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grammars import limits
from grammars.errors import GrammarError
from grammars.json_schema.references import References

Schema = dict[str, Any]

MAX_SHAPES = 64
"""Maximum number of alternatives of one schema."""

MAX_WORK = 1_000_000
"""Maximum number of pairs of a name and a schema, or a pattern, that the name is looked up in."""

_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class OtherNames:
    """Properties that are not declared by name."""

    pattern: str | None
    """The pattern that is searched in the name; None means any name."""
    excluded: tuple[str, ...]
    """Patterns that the name must not contain."""
    schema: object


@dataclass(frozen=True, slots=True)
class ObjectShape:
    """One alternative of a schema's objects."""

    members: Mapping[str, object]
    """The schemas of the declared properties, in the schema's order."""
    required: frozenset[str]
    others: tuple[OtherNames, ...]
    least: int
    most: int | None
    """How many properties an object has."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one schema says about the names of an object's properties."""

    properties: Mapping[str, object] = field(default_factory=dict)
    patterns: Mapping[str, object] = field(default_factory=dict)
    additional: object = None
    """None means that the keyword is absent."""

    @property
    def says_undeclared(self) -> bool:
        """Whether the layer says something about names that it doesn't declare."""
        return bool(self.patterns) or self.additional is not None

    def schemas_of(self, name: str) -> Iterator[object]:
        """The schemas that the property has to satisfy."""
        found = [schema for pattern, schema in self.patterns.items() if _has(pattern, name)]
        if name in self.properties:
            found.append(self.properties[name])
        if not found and self.additional is not None:
            found.append(self.additional)
        yield from found


@dataclass(frozen=True, slots=True)
class _Alternative:
    """What an object has to satisfy: all layers, all required names, all bounds."""

    layers: tuple[_Layer, ...] = ()
    required: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None


def object_shapes(root: Schema) -> list[ObjectShape]:
    """The alternatives of a checked schema. Raises `GrammarError` if there is none."""
    alternatives = _Finder(root).alternatives(root)
    _limit_work(alternatives)
    kept = [shape for shape in map(_shape, alternatives) if shape is not None]
    if not kept:
        raise GrammarError("no object is valid here", "")
    return kept


class _Finder:
    """Finds the alternatives of a document's schemas."""

    def __init__(self, root: Schema) -> None:
        self._references = References(root)
        self._known: dict[int, list[_Alternative]] = {}
        """By a schema's id: many references may lead to one schema."""
        self._path: set[int] = set()
        """The ids of the schemas that are being read."""

    def alternatives(self, schema: object) -> list[_Alternative]:
        """The alternatives of one schema. Raises `GrammarError`."""
        if not isinstance(schema, dict):
            return [] if schema is False else [_Alternative()]
        key = id(schema)
        if key not in self._known:
            if key in self._path or len(self._path) > _MAX_DEPTH:
                raise GrammarError("the references of the object lead in a circle", "")
            self._path.add(key)
            self._known[key] = self._read(schema)
            self._path.remove(key)
        return self._known[key]

    def _read(self, schema: Schema) -> list[_Alternative]:
        types = schema.get("type", "object")
        if "object" not in (types if isinstance(types, list) else [types]):
            return []
        groups = [[_own(schema)]]
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            groups.append([_exactly(value) for value in values if isinstance(value, dict)])
        if "$ref" in schema:
            groups.append(self.alternatives(self._references.target(schema["$ref"])))
        groups += [self.alternatives(part) for part in schema.get("allOf", ())]
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                options = [self.alternatives(option) for option in schema[keyword]]
                groups.append(list(itertools.chain.from_iterable(options)))
        return _product(groups)


def _product(groups: list[list[_Alternative]]) -> list[_Alternative]:
    size = 1
    for group in groups:
        size *= len(group)
        if size > MAX_SHAPES:
            raise GrammarError(f"the object has more than {MAX_SHAPES} alternatives", "")
    return [_together(parts) for parts in itertools.product(*groups)]


def _together(parts: Sequence[_Alternative]) -> _Alternative:
    """What an object has to satisfy that satisfies all parts."""
    layers = {id(layer): layer for part in parts for layer in part.layers}
    return _Alternative(
        tuple(layers.values()),
        tuple(dict.fromkeys(name for part in parts for name in part.required)),
        max(part.least for part in parts),
        min((part.most for part in parts if part.most is not None), default=None),
    )


def _limit_work(alternatives: Sequence[_Alternative]) -> None:
    """Raise `GrammarError` where too many names meet too many schemas or patterns."""
    work = 0
    for found in alternatives:
        num_names = sum(len(layer.properties) for layer in found.layers) + len(found.required)
        num_patterns = sum(len(layer.patterns) for layer in found.layers)
        num_speaking = sum(layer.says_undeclared for layer in found.layers)
        work += (num_names + num_patterns) * (num_speaking + num_patterns)
    if work > MAX_WORK:
        raise GrammarError("the object combines too many names, schemas and patterns", "")


def _own(schema: Schema) -> _Alternative:
    layer = _Layer(
        schema.get("properties", {}),
        schema.get("patternProperties", {}),
        schema.get("additionalProperties"),
    )
    says = bool(schema.keys() & {"properties", "patternProperties", "additionalProperties"})
    return _Alternative(
        (layer,) if says else (),
        tuple(schema.get("required", ())),
        schema.get("minProperties", 0),
        schema.get("maxProperties"),
    )


def _exactly(value: Schema) -> _Alternative:
    """The object that equals `value`."""
    properties = {name: {"const": item} for name, item in value.items()}
    return _Alternative((_Layer(properties, {}, False),), tuple(value))


def _shape(alternative: _Alternative) -> ObjectShape | None:
    """The shape of an alternative; None if no object satisfies all of it."""
    layers = alternative.layers
    declared = [*(name for layer in layers for name in layer.properties), *alternative.required]
    required = frozenset(alternative.required)
    parts: dict[str, list[object]] = {name: [] for name in declared}
    for layer in layers:
        for name in parts if layer.says_undeclared else layer.properties:
            parts[name] += layer.schemas_of(name)
    members: dict[str, object] = {}
    for name, schemas in parts.items():
        schema = _all_of(schemas)
        if schema is not False:
            members[name] = schema
        elif name in required:
            return None
    others = (
        ()
        if any(layer.additional is False and not layer.patterns for layer in layers)
        else (_others(layers, is_free=not declared))
    )
    num_names = len(members) if not others else None
    bounds = [bound for bound in (alternative.most, num_names) if bound is not None]
    most = min(bounds, default=None)
    if most is not None and most < max(alternative.least, len(required)):
        return None
    return ObjectShape(members, required, others, alternative.least, alternative.most)


def _others(layers: tuple[_Layer, ...], *, is_free: bool) -> tuple[OtherNames, ...]:
    """The undeclared properties that the schema asks for."""
    speaking = [layer for layer in layers if layer.says_undeclared]
    if not speaking:
        return (OtherNames(None, (), {}),) if is_free else ()
    if len(speaking) > 1:
        if any(layer.patterns for layer in speaking):
            return ()  # fewer objects than are valid
        return (OtherNames(None, (), _all_of([layer.additional for layer in speaking])),)
    layer = speaking[0]
    patterns = list(layer.patterns)
    found = [
        OtherNames(pattern, tuple(p for p in patterns if p != pattern), schema)
        for pattern, schema in layer.patterns.items()
        if schema is not False
    ]
    if layer.additional not in (None, False):
        found.append(OtherNames(None, tuple(patterns), layer.additional))
    return tuple(found)


def _all_of(schemas: list[object]) -> object:
    """One schema for several that all have to be satisfied."""
    kept = [schema for schema in schemas if schema is not True and schema != {}]
    if any(schema is False for schema in kept):
        return False
    return kept[0] if len(kept) == 1 else {"allOf": kept} if kept else {}


def _has(pattern: str, name: str) -> bool:
    """Whether a pattern is found in a name. Raises `GrammarError` where that could take long."""
    if _search_steps(pattern, len(name)) > MAX_WORK:
        raise GrammarError("a pattern is too complex to be searched in names", "")
    try:
        return re.search(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):
        raise GrammarError(f"the pattern {pattern!r} is not supported here") from None


def _search_steps(pattern: str, length: int) -> float:
    """A bound of the ways that Python tries to find a pattern in a text."""
    if len(pattern) > limits.MAX_REGEX_BYTES:
        return math.inf
    num_repeats, num_choices = _ways(pattern)
    return math.inf if num_choices > 64 else (length + 1) ** (num_repeats + 1) * 2**num_choices


@functools.lru_cache(maxsize=256)
def _ways(pattern: str) -> tuple[float, int]:
    """How many parts of a pattern repeat, and how many choices it has.

    Python tries all lengths and choices with all others. A group that repeats has ways without
    bound.
    """
    num_repeats, num_choices = 0.0, 0
    is_in_class = False
    before = ""
    for part in re.findall(r"\\.|.", pattern, re.DOTALL):
        if is_in_class:
            is_in_class = part != "]"
        elif part == "[":
            is_in_class = True
        elif part in ("*", "+", "{"):
            num_repeats += math.inf if before == ")" else 1
        elif part in ("?", "|"):
            num_choices += 1
        before = part
    is_spaced = re.search(r"\(\?[a-zA-Z-]*x", pattern) is not None  # a group may end long before
    return math.inf if is_spaced else num_repeats, num_choices
