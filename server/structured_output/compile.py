"""The compiler of output formats: from a format to the constraint that the engine enforces."""

from __future__ import annotations

from grammars import compiler
from grammars.constraint import Constraint
from server.errors import InvalidRequest
from server.model.tokenizer import Tokenizer
from server.structured_output.output_format import Kind, OutputFormat
from server.structured_output.refusing import refusing
from server.structured_output.triggers import lazy_constraint


def compile_request_format(format_: OutputFormat, tokenizer: Tokenizer) -> Constraint | None:
    """The constraint of a request; None for plain text. Raises `InvalidRequest`.

    Compiling takes milliseconds, so callers keep it off the event loop.
    """
    with refusing(format_.param):
        constraint = compile_format(format_, tokenizer)
    if format_.triggers is None:
        return constraint
    if constraint is None:
        message = "'grammar_lazy' needs a 'grammar' or a 'json_schema'"
        raise InvalidRequest(message, param="grammar_lazy")
    return lazy_constraint(constraint, format_.triggers, tokenizer)


def compile_format(format_: OutputFormat, tokenizer: Tokenizer) -> Constraint | None:
    """The constraint without its triggers; None for plain text. Raises `GrammarError`."""
    value = format_.value
    match format_.kind:
        case Kind.TEXT:
            return None
        case Kind.JSON_OBJECT:
            return compiler.from_json_object()
        case Kind.JSON_SCHEMA:
            return compiler.from_json_schema(value)
        case Kind.GRAMMAR:
            return compiler.from_gbnf(value, tokenizer)
        case Kind.NAMED_GRAMMAR:
            return compiler.named(value)
        case Kind.REGEX:
            return compiler.from_regex(value)
        case Kind.CHOICE:
            return compiler.from_choices(value)
