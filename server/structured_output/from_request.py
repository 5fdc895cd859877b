"""From a request's schema or grammar to a constraint."""

from __future__ import annotations

import re
from typing import Any

from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What no grammar's text looks like: there are rules in that."""


def schema_constraint(schema: Any, *, param: str) -> Constraint:
    """A JSON Schema from the field `param`. Raises `InvalidRequest`."""
    try:
        return compiler.from_json_schema(schema)
    except GrammarError as error:
        raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error


def grammar_constraint(text: str, tokenizer: Tokenizer, *, param: str) -> Constraint:
    """GBNF from the field `param`, or the name of a shipped grammar. Raises `InvalidRequest`."""
    try:
        if NAME.fullmatch(text):
            return compiler.named(text)
        return compiler.from_gbnf(text, tokenizer)
    except GrammarError as error:
        raise InvalidRequest(f"'{param}' can't be used: {error}", param=param) from error
