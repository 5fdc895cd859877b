"""The constraint of requests without one: `--grammar`, `--json-schema` and their files."""

from __future__ import annotations

from config import ServeSettings, file_settings
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from server.model.tokenizer import Tokenizer
from server.startup import StartupError
from server.structured_output.compile import compile_format
from server.structured_output.output_format import PLAIN_TEXT, Kind, OutputFormat


def default_constraint(settings: ServeSettings, tokenizer: Tokenizer) -> Constraint | None:
    """The compiled constraint of the server's settings. Raises `StartupError` and `ConfigError`."""
    format_ = _default_format(settings)
    try:
        return compile_format(format_, tokenizer)
    except GrammarError as error:
        what = "grammar" if format_.kind is Kind.GRAMMAR else "JSON schema"
        raise StartupError(f"the {what} for all answers can't be used: {error}") from error


def _default_format(settings: ServeSettings) -> OutputFormat:
    schema, grammar = file_settings.json_schema(settings), file_settings.grammar(settings)
    if schema is not None:
        return OutputFormat(Kind.JSON_SCHEMA, schema)
    return OutputFormat(Kind.GRAMMAR, grammar) if grammar else PLAIN_TEXT
