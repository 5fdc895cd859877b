"""Reads a TOML file, the user's own or a shipped preset, into given values."""

import tomllib
from pathlib import Path

from config.errors import ConfigError
from config.names import by_flag_key, closest, hint, keys
from config.refused import Refused
from config.sources import Given, Level

MODELS = "models"
"""The key of the tables of models, each under its name."""


def read_toml(path: Path, level: Level = Level.FILE) -> list[Given]:
    """The values that the keys of a TOML file give.

    Raises ConfigError if the file can't be read, isn't TOML, or has a key that is unknown
    or refused.
    """
    given = []
    for key, value in parse_toml(path).items():
        if key == MODELS and level is Level.FILE and isinstance(value, dict):
            continue  # `config.models` reads it
        name = f"{key} in {path}"
        meaning = keys().get(key)
        if meaning is None:
            raise ConfigError(f"unknown key {name}{_hint(key)}")
        own = meaning.value(value, name)
        if own is not None and not isinstance(meaning.target, Refused):
            given.append(Given(meaning.target.field, own, name, level))
    return given


def parse_toml(path: Path) -> dict[str, object]:
    """The content of a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from None


def _hint(key: str) -> str:
    plain = key.replace("-", "_")
    right = by_flag_key().get(plain)
    return hint(right.field) if right and right.field in keys() else closest(plain, keys())
