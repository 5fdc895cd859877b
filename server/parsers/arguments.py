"""The arguments of a tool as parameters: their names, and which of them are plain texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grammars.errors import GrammarError
from grammars.json_schema.shapes import ObjectShape, object_shapes
from server.parsers.plain_texts import text_rules

Schema = dict[str, Any]


class Arguments:
    """What a schema says about the parameters of calls.

    A name is read without knowing which alternative of the schema the call follows. So a
    parameter is plain text only if it is a text in all alternatives.
    """

    def __init__(self, root: Schema, shapes: Sequence[ObjectShape]) -> None:
        self.root = root
        self.shapes = shapes
        self.names = frozenset(name for shape in shapes for name in shape.members)
        """The names of all declared parameters."""
        self._texts = frozenset(
            name
            for name in self.names
            if all(
                text_rules(shape.members[name], root) is not None
                for shape in shapes
                if name in shape.members
            )
        )
        others = [other.schema for shape in shapes for other in shape.others]
        self.are_others_texts = bool(others) and all(
            text_rules(schema, root) is not None for schema in others
        )
        """Whether the values of undeclared parameters are plain texts."""

    def is_text(self, name: str) -> bool:
        """Whether the parameter's value is written as plain text."""
        return name in self._texts if name in self.names else self.are_others_texts


def arguments_of(schema: Schema) -> Arguments:
    """The parameters of a checked schema. Raises `GrammarError` where they can't be told."""
    return Arguments(schema, object_shapes(schema))


def outline_of(arguments: Arguments) -> Schema:
    """A small schema with the same parameters, of which the same are plain texts.

    `declared_arguments` of it takes no time worth mentioning, whatever the tool's schema is.
    """
    text, other = {"type": "string"}, dict[str, str]()
    names = sorted(arguments.names)
    members = {name: text if arguments.is_text(name) else other for name in names}
    return {
        "type": "object",
        "properties": members,
        "additionalProperties": text if arguments.are_others_texts else False,
    }


def declared_arguments(schema: Mapping[str, Any]) -> Arguments:
    """The parameters of any schema, as far as they can be told."""
    root = dict(schema)
    try:
        return arguments_of(root)
    except (GrammarError, TypeError, AttributeError, ValueError):
        properties = root.get("properties")
        members = properties if isinstance(properties, dict) else {}
        return Arguments(root, [ObjectShape(members, frozenset(), (), 0, None)])
