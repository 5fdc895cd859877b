"""The folders where models lie: ours, the Hugging Face cache, and those of other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from server.store.hub_settings import home_of, hub_settings


class Owner(StrEnum):
    """Whose a model is."""

    LLAMAPACK = "llamapack"
    HUGGING_FACE = "huggingface"
    LLAMA_CPP = "llama.cpp"
    LM_STUDIO = "lmstudio"
    OLLAMA = "ollama"
    NOBODY = "nobody"
    """A file outside of all folders."""

    @property
    def is_ours(self) -> bool:
        """Whether models are removed without force: our own, and those of the shared cache."""
        return self in (Owner.LLAMAPACK, Owner.HUGGING_FACE)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the models of each owner lie; folders may be missing."""

    downloads: Path
    """What we have downloaded by URL and out of registries."""
    imports: Path
    hugging_face: Path
    llama_cpp: tuple[Path, ...] = ()
    lm_studio: tuple[Path, ...] = ()
    ollama: tuple[Path, ...] = ()


def folders_of(environ: Mapping[str, str]) -> Folders:
    """The folders by the variables of each program. Raises `StoreError`."""
    home = home_of(environ)
    caches = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return Folders(
        downloads=caches / "llamapack" / "models",
        imports=data / "llamapack" / "models",
        hugging_face=hub_settings(environ).cache,
        llama_cpp=_llama_cpp(environ, home, caches),
        lm_studio=_lm_studio(home),
        ollama=_ollama(environ, home),
    )


def _llama_cpp(environ: Mapping[str, str], home: Path, caches: Path) -> tuple[Path, ...]:
    if named := environ.get("LLAMA_CACHE"):
        return (Path(named),)
    if sys.platform == "darwin":
        return (home / "Library" / "Caches" / "llama.cpp",)
    return (caches / "llama.cpp",)


def _lm_studio(home: Path) -> tuple[Path, ...]:
    """The folder of its settings, and the two that it had by default."""
    with suppress(OSError):
        pointed = Path((home / ".lmstudio-home-pointer").read_text("utf-8").strip())
        if pointed.is_absolute():
            return _unique(_lm_studio_setting(pointed), pointed / "models")
    current = home / ".lmstudio"
    earlier = home / ".cache" / "lm-studio" / "models"
    return _unique(_lm_studio_setting(current), current / "models", earlier)


def _lm_studio_setting(folder: Path) -> Path | None:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        settings: Any = json.loads((folder / "settings.json").read_text("utf-8"))
        return Path(settings["downloadsFolder"])
    return None


def _ollama(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    if named := environ.get("OLLAMA_MODELS"):
        return (Path(named),)
    service = Path("/usr/share/ollama/.ollama/models")
    return (home / ".ollama" / "models", service)


def _unique(*folders: Path | None) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(folder for folder in folders if folder is not None))
