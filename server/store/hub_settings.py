"""How the hub is reached and where its cache lies, by the variables of Hugging Face's tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.store.errors import StoreError

_ENDPOINT = "https://huggingface.co"
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True, slots=True)
class HubSettings:
    """How the hub is reached. Offline, only the cache is asked."""

    endpoint: str
    cache: Path
    token: str | None = field(default=None, repr=False)
    is_offline: bool = False


def hub_settings(
    environ: Mapping[str, str], *, token: str | None = None, is_offline: bool = False
) -> HubSettings:
    """The settings of HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE and their like.

    `token` and `is_offline` are flags, which go before variables. Raises `StoreError`.
    """
    home = _home(environ)
    cache = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return HubSettings(
        endpoint=(environ.get("HF_ENDPOINT") or _ENDPOINT).rstrip("/"),
        cache=Path(cache).expanduser() if cache else home / "hub",
        token=_checked(token or _token(environ, home)),
        is_offline=is_offline
        or any(_is_on(environ, name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")),
    )


def home_of(environ: Mapping[str, str]) -> Path:
    """The user's home folder. Raises `StoreError` if there is none."""
    if home := environ.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        raise StoreError("there is no home folder; set HOME") from None


def _home(environ: Mapping[str, str]) -> Path:
    if named := environ.get("HF_HOME"):
        return Path(named).expanduser()
    caches = environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else home_of(environ) / ".cache") / "huggingface"


def _token(environ: Mapping[str, str], home: Path) -> str:
    given = environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN")
    if given or _is_on(environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return given or ""
    try:
        return Path(environ.get("HF_TOKEN_PATH") or home / "token").expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _checked(token: str) -> str | None:
    """The token without the newline at the end of files and secrets."""
    token = token.strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise StoreError("the Hugging Face token has a character that no token has")
    return token or None


def _is_on(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").upper() in _TRUE
