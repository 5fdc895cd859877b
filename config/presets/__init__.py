"""Shipped presets, one TOML file each. Every other source of settings overrides them."""

from pathlib import Path

from config.errors import ConfigError

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The names that --preset takes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def preset_path(name: str, source: str) -> Path:
    """The file of a preset. Raises ConfigError, which names `source`, for an unknown name."""
    if name not in preset_names():
        raise ConfigError(f"{source} must be one of {', '.join(preset_names())}, got {name}")
    return _FOLDER / f"{name}.toml"
