"""The fields `tools` and `tool_choice`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from grammars.errors import GrammarError
from grammars.json_schema.keywords import SUPPORTED, UNSUPPORTED
from grammars.json_schema.references import resolve
from server.bodies.bounds import TOOL_NAME_CHARS
from server.bodies.label import Label
from server.bodies.request_model import RequestModel


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", name):
        raise ValueError("must consist of letters, digits, '_', '-' and '.'")
    return name


Name = Annotated[StrictStr, Field(max_length=TOOL_NAME_CHARS.most), AfterValidator(_name)]


_DECLARING = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "enum",
        "extends",
        "if",
        "minProperties",
        "not",
        "oneOf",
        "patternProperties",
        "properties",
        "propertyNames",
        "required",
        "unevaluatedProperties",
    }
)
"""Keywords by which a schema says something about an object's properties."""

_RESTRICTING = (SUPPORTED | UNSUPPORTED) - {"$defs", "definitions"}

_MAX_REFERENCES = 100


class Function(RequestModel):
    """A function's purpose, and the JSON Schema of its arguments."""

    name: Name
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None
    """Whether a schema that can't be enforced is refused. Otherwise such a part is left to the
    model."""

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """The schema of the arguments, which are an object.

        A function that declares no parameters has none: its arguments are `{}`.
        """
        given = {key: value for key, value in (self.parameters or {}).items() if value is not None}
        if not any(given.get(key) not in (None, []) for key in _DECLARING):
            given = {key: value for key, value in given.items() if key not in _DECLARING}
            given["properties"] = {}
        given = _without_outer_reference(given)
        types = given.get("type")
        is_object = types is None or (isinstance(types, list) and "object" in types)
        return {**given, "type": "object" if is_object else types}


def _without_outer_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a document leads to, if the document itself is only a `$ref`.

    Schemas of classes that contain themselves are written so. llguidance takes no such reference
    beside other keywords.
    """
    for _ in range(_MAX_REFERENCES):
        others = {key: value for key, value in schema.items() if key != "$ref"}
        if "$ref" not in schema or others.keys() & _RESTRICTING:
            return schema
        try:
            target = resolve(schema["$ref"], schema)
        except (GrammarError, AttributeError):
            return schema  # refused later, with its place
        if not isinstance(target, dict) or target.keys() & {"$defs", "definitions", "$id"}:
            return schema
        schema = {**others, **target}
    return schema


class Tool(RequestModel):
    """A function that the model may call."""

    type: Literal["function"]
    function: Function

    def to_template(self) -> dict[str, Any]:
        """The tool in the form that chat templates read, with every key that they expect."""
        parameters = self.function.parameters or {"type": "object", "properties": {}}
        function = {
            "name": self.function.name,
            "description": self.function.description or "",
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


class NamedFunction(RequestModel):
    """A function by its name."""

    name: Label


class NamedChoice(RequestModel):
    """The answer must call this function."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | NamedChoice
