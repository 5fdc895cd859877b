"""Reads the settings whose value may be in a file: keys, chat template, grammar, JSON Schema."""

import json
import tomllib
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.settings import ServeSettings


def api_key_lines(settings: ServeSettings) -> tuple[str, ...]:
    """The keys in `--api-key-file` in their order; empty without the setting.

    Raises ConfigError if the file can't be read or has no key: an empty file would open the server
    to everybody.
    """
    if settings.api_key_file is None:
        return ()
    lines = (line.strip() for line in _text(settings.api_key_file).splitlines())
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ConfigError(f"the key file {settings.api_key_file} has no key in it")
    return keys


def api_keys_toml(settings: ServeSettings) -> dict[str, Any]:
    """The parsed `--api-keys-toml`; empty without the setting. Raises ConfigError."""
    path = settings.api_keys_toml
    if path is None:
        return {}
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def chat_template(settings: ServeSettings) -> str | None:
    """The chat template that replaces the model's, or None. Raises ConfigError."""
    if settings.chat_template_file is None:
        return settings.chat_template
    return _text(settings.chat_template_file)


def grammar(settings: ServeSettings) -> str | None:
    """The GBNF that every answer follows, or None. Raises ConfigError."""
    return settings.grammar if settings.grammar_file is None else _text(settings.grammar_file)


def json_schema(settings: ServeSettings) -> dict[str, object] | None:
    """The JSON Schema that every answer follows, or None. Raises ConfigError."""
    path = settings.json_schema_file
    if path is None:
        return settings.json_schema
    try:
        schema = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ConfigError(f"{path} must hold a JSON object")
    return schema


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8") from None
