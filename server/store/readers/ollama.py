"""Models of Ollama: manifests/HOST/USER/NAME/TAG names blobs/sha256-HEX."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.store.folders import Owner
from server.store.model import StoredModel, stored

_HOST = "registry.ollama.ai"
_USER = "library"
_MODEL = "application/vnd.ollama.image.model"
_PROJECTOR = "application/vnd.ollama.image.projector"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_MANIFESTS = 10_000
_LARGEST_MANIFEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a name of Ollama stands for: the digests of its layers, by their media type."""

    path: Path
    name: str
    layers: tuple[tuple[str, str], ...]

    @property
    def digests(self) -> set[str]:
        """All blobs that the name needs."""
        return {digest for _, digest in self.layers}

    def first(self, media: str) -> str | None:
        """The digest of the first layer of this type."""
        return next((digest for kind, digest in self.layers if kind == media), None)


def models(folder: Path) -> Iterator[StoredModel]:
    """The models by Ollama's names: `llama3.2:3b`, `user/name:tag`, `hf.co/user/repo:tag`."""
    for manifest in manifests(folder):
        digest, projector = manifest.first(_MODEL), manifest.first(_PROJECTOR)
        if digest is None:
            continue
        beside = None if projector is None else blob(folder, projector)
        with suppress(OSError):
            yield stored(
                manifest.name,
                [blob(folder, digest)],
                Owner.OLLAMA,
                digest=digest,
                projector=beside if beside is not None and beside.is_file() else None,
            )


def manifests(folder: Path) -> Iterator[Manifest]:
    """All manifests that can be read."""
    root = folder / "manifests"
    with suppress(OSError):
        for path in itertools.islice(root.rglob("*"), _MOST_MANIFESTS):
            manifest = _read(root, path)
            if manifest is not None:
                yield manifest


def blob(folder: Path, digest: str) -> Path:
    """Where a layer lies."""
    return folder / "blobs" / digest.replace(":", "-")


def _read(root: Path, path: Path) -> Manifest | None:
    steps = path.relative_to(root).parts
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if len(steps) == 4 and path.is_file() and path.stat().st_size <= _LARGEST_MANIFEST:
            content: Any = json.loads(path.read_bytes())
            parts = [content.get("config") or {}, *content["layers"]]
            layers = [(part.get("mediaType", ""), part.get("digest", "")) for part in parts]
            return Manifest(path, _name(*steps), tuple(one for one in layers if _is_sound(*one)))
    return None


def _is_sound(media: Any, digest: Any) -> bool:
    return isinstance(media, str) and isinstance(digest, str) and bool(_DIGEST.fullmatch(digest))


def _name(host: str, user: str, name: str, tag: str) -> str:
    if host != _HOST:
        return f"{host}/{user}/{name}:{tag}"
    return f"{name}:{tag}" if user == _USER else f"{user}/{name}:{tag}"
