"""What a pull asks for: a repository, an address, a registry's model or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from server.store.errors import StoreError

_REPO = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<quant>[\w.-]+))?")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_HUB_FILE = re.compile(r"(?P<repo>[^/]+/[^/]+)/(?:resolve|blob)/main/(?P<file>.+)")
_REGISTRIES = ("docker", "ollama")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model of the hub: by quantization, or by the name of its file."""

    repo: str
    quant: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.repo}:{self.quant or self.file}" if self.quant or self.file else self.repo


@dataclass(frozen=True, slots=True)
class UrlReference:
    """The address of a file; of a split model, of its first file."""

    url: str
    file: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """A model in Docker's or Ollama's registry, as that registry names it."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"{self.registry}://{self.name}"


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Reference = HubReference | UrlReference | RegistryReference | FileReference


def parse_reference(text: str) -> Reference:
    """`USER/REPO[:QUANT]`, an address, `docker://NAME`, `ollama://NAME` or the path of a file.

    A path has a suffix .gguf, or starts with `/`, `./`, `../` or `~`. Raises `StoreError`.
    """
    scheme, marked, rest = text.partition("://")
    if marked:
        return _with_scheme(text, scheme.lower(), rest)
    if text.startswith(("/", "./", "../", "~")) or text.lower().endswith(".gguf"):
        return FileReference(Path(text).expanduser())
    for host in _HUB_HOSTS:
        text = text.removeprefix(f"{host}/")
    return parse_repo(text)


def parse_repo(text: str) -> HubReference:
    """`USER/REPO[:QUANT]`. Raises `StoreError`."""
    match = _REPO.fullmatch(text)
    if match is None:
        raise StoreError(f"a repository looks like user/repo or user/repo:quant, not {text}")
    quant = match["quant"]
    return HubReference(match["repo"], None if quant in (None, "latest") else quant)


def parse_url(url: str) -> UrlReference:
    """The address of a file. Raises `StoreError`."""
    parts = urlsplit(url)
    name = unquote(parts.path).rpartition("/")[2]
    if parts.scheme not in ("http", "https") or not parts.hostname or not _is_name(name):
        raise StoreError(f"a model's URL must be the http or https address of a file, not {url}")
    return UrlReference(url, name)


def _is_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not any(sign in name for sign in "/\\\0")


def _with_scheme(text: str, scheme: str, rest: str) -> Reference:
    if scheme == "hf":
        return parse_repo(rest)
    if scheme in _REGISTRIES:
        return RegistryReference(scheme, rest)
    if scheme not in ("http", "https"):
        raise StoreError(
            f"{text} has none of the schemes that can be pulled: https, http, hf, docker, ollama"
        )
    return _of_hub(text) or parse_url(text)


def _of_hub(url: str) -> HubReference | None:
    """A page or a file of the hub, as the browser's address bar shows it."""
    parts = urlsplit(url)
    if parts.hostname not in _HUB_HOSTS or parts.port is not None:
        return None
    path = unquote(parts.path).strip("/")
    if file := _HUB_FILE.fullmatch(path):
        return HubReference(parse_repo(file["repo"]).repo, file=file["file"])
    match = _REPO.fullmatch(path.removesuffix("/tree/main"))
    return parse_repo(match[0]) if match else None
