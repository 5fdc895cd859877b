"""The API keys that clients may use, from the settings and from a file."""

from __future__ import annotations

from pathlib import Path

from config import ServeSettings
from server.startup import StartupError


def read_keys(settings: ServeSettings) -> tuple[str, ...]:
    """All keys, each once; none means that the server is open. Raises `StartupError`."""
    keys = list(settings.api_key)
    if settings.api_key_file is not None:
        keys += _keys_in(settings.api_key_file)
        if not keys:
            raise StartupError(f"{settings.api_key_file} holds no API key")
    return tuple(dict.fromkeys(keys))


def _keys_in(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"the API key file {path} can't be read: {error}") from error
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]
