"""The output format of a request: what its answer has to follow."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.errors import InvalidRequest
from server.structured_output.triggers import GrammarTrigger

ANY_OBJECT: dict[str, Any] = {"type": "object"}
"""The schema of any JSON object."""

_GRAMMAR_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The names of shipped grammars; the text of a grammar has at least one `::=`."""


class Kind(enum.Enum):
    """The ways to constrain an answer."""

    TEXT = enum.auto()
    """No constraint."""
    JSON_OBJECT = enum.auto()
    """Any JSON object, with free white space."""
    JSON_SCHEMA = enum.auto()
    GRAMMAR = enum.auto()
    """GBNF text."""
    NAMED_GRAMMAR = enum.auto()
    """The name of a shipped grammar."""
    REGEX = enum.auto()
    CHOICE = enum.auto()


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What an answer has to follow, parsed but not compiled."""

    kind: Kind = Kind.TEXT
    value: Any = None
    """The schema, grammar, name, expression or list of choices."""
    param: str = ""
    """The path of the field that holds the value, for error messages."""
    triggers: Sequence[GrammarTrigger] | None = None
    """The constraint begins at one of these; None means that it begins with the answer."""

    @property
    def field(self) -> str:
        """The field of the body that the constraint comes from."""
        return self.param.partition(".")[0]

    @property
    def schema(self) -> Any:
        """The JSON Schema that the whole answer follows; None for other formats."""
        is_schema = self.kind in (Kind.JSON_OBJECT, Kind.JSON_SCHEMA) and self.triggers is None
        return self.value if is_schema else None


PLAIN_TEXT = OutputFormat()


def any_object_format(param: str) -> OutputFormat:
    """Any JSON object."""
    return OutputFormat(Kind.JSON_OBJECT, ANY_OBJECT, param)


def schema_format(schema: Any, param: str) -> OutputFormat:
    """JSON of a schema."""
    return OutputFormat(Kind.JSON_SCHEMA, schema, param)


def grammar_format(text: str, param: str) -> OutputFormat:
    """GBNF text, or the name of a shipped grammar."""
    kind = Kind.NAMED_GRAMMAR if _GRAMMAR_NAME.fullmatch(text) else Kind.GRAMMAR
    return OutputFormat(kind, text, param)


def only_format(formats: Iterable[OutputFormat]) -> OutputFormat:
    """The format that the body asks for; plain text if no field asks for another.

    Raises `InvalidRequest` for two fields that constrain the answer.
    """
    asked = [format_ for format_ in formats if format_.kind is not Kind.TEXT]
    if len(asked) > 1:
        first, second = asked[0].field, asked[1].field
        message = f"give '{first}' or '{second}', not both: each constrains the answer"
        raise InvalidRequest(message, param=second)
    return asked[0] if asked else PLAIN_TEXT


def lazily(format_: OutputFormat, triggers: Sequence[GrammarTrigger]) -> OutputFormat:
    """The format from one of the triggers on. Before the trigger the answer is free.

    `response_format` describes whole answers, so the triggers don't apply to it.
    """
    return format_ if format_.field == "response_format" else replace(format_, triggers=triggers)
