"""The constraint of requests that bring none: `--grammar`, `--json-schema` and their files."""

from __future__ import annotations

from config import ServeSettings, file_settings
from grammars import compiler
from grammars.constraint import Constraint
from grammars.errors import GrammarError
from server.model.tokenizer import Tokenizer
from server.startup import StartupError


def default_constraint(settings: ServeSettings, tokenizer: Tokenizer) -> Constraint | None:
    """The server's own, compiled. Raises `StartupError` and `ConfigError`."""
    schema, grammar = file_settings.json_schema(settings), file_settings.grammar(settings)
    try:
        if schema is not None:
            return compiler.from_json_schema(schema)
        return compiler.from_gbnf(grammar, tokenizer) if grammar else None
    except GrammarError as error:
        what = "grammar" if schema is None else "JSON schema"
        raise StartupError(f"the {what} for all answers can't be used: {error}") from error
