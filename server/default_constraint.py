"""The constraint of a request that brings none: `--grammar`, `--json-schema` and their files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from config import ServeSettings
from server.errors import InvalidRequest


def default_grammar(settings: ServeSettings) -> str | None:
    """The server's GBNF, if it was given any."""
    if settings.grammar_file is not None:
        return _read(settings.grammar_file)
    return settings.grammar


def default_schema(settings: ServeSettings) -> Any:
    """The server's JSON Schema, or None."""
    if settings.json_schema_file is not None:
        return _read_json(settings.json_schema_file)
    return settings.json_schema


@functools.lru_cache(maxsize=4)
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.lru_cache(maxsize=4)
def _read_json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except ValueError as error:
        raise InvalidRequest(f"the server's --json-schema-file is no JSON: {error}") from error
