"""Shipped presets, one TOML file each. Every other source of settings overrides them.

Shortcuts are llama-server's presets, each with a flag of its own.
"""

from pathlib import Path

from config.errors import ConfigError

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The names that --preset takes."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def shortcut_names() -> list[str]:
    """The names of llama-server's own presets, which are its flags too."""
    return sorted(path.stem for path in _FOLDER.glob("shortcuts/*.toml"))


def preset_path(name: str, source: str) -> Path:
    """The file of a preset. Raises ConfigError, which names `source`, for an unknown name."""
    if name in shortcut_names():
        return _FOLDER / "shortcuts" / f"{name}.toml"
    if name not in preset_names():
        raise ConfigError(f"{source} must be one of {', '.join(preset_names())}, got {name}")
    return _FOLDER / f"{name}.toml"


def shortcut_title(name: str) -> str:
    """What a shortcut is for: the first line of its file."""
    with preset_path(name, name).open(encoding="utf-8") as file:
        title = file.readline().lstrip("# ").rstrip(".\n")
    return f"{title[:1].lower()}{title[1:]} (downloads the model)"
