"""Models in llama.cpp's own cache: `USER_REPO_FILE.gguf`, with a manifest of the repository.

Newer versions keep the layout of Hugging Face's cache, in this folder if LLAMA_CACHE names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from server.store.folders import Owner
from server.store.model import StoredModel
from server.store.readers import hugging_face
from server.store.readers.files import models_of_repo

_MANIFEST = "manifest="
_SIDECARS = (".json", ".etag")


def models(folder: Path) -> Iterator[StoredModel]:
    """The models of both layouts. A file without a manifest has its own name."""
    yield from hugging_face.models(folder, Owner.LLAMA_CPP)
    repos = _repos(folder)
    by_repo: dict[str, dict[str, Path]] = defaultdict(dict)
    with suppress(OSError):
        for path in sorted(folder.glob("*.gguf")):
            repo, file = _origin(path.name, repos)
            by_repo[repo][file] = path
    for repo, files in by_repo.items():
        yield from models_of_repo(repo, files, Owner.LLAMA_CPP)


def sidecars(path: Path) -> list[Path]:
    """What llama.cpp keeps beside a file."""
    return [path.with_name(path.name + suffix) for suffix in _SIDECARS]


def _repos(folder: Path) -> list[str]:
    """The repositories that have a manifest: `manifest=USER=REPO=TAG.json`."""
    found = []
    with suppress(OSError):
        for path in folder.glob(f"{_MANIFEST}*.json"):
            user, _, rest = path.name.removeprefix(_MANIFEST).partition("=")
            found.append(f"{user}/{rest.rpartition('=')[0]}")
    return sorted(set(found), key=len, reverse=True)


def _origin(name: str, repos: Sequence[str]) -> tuple[str, str]:
    """The repository and the file in it; a file of no known repository is one of its own."""
    for repo in repos:
        start = f"{repo.replace('/', '_')}_"
        if name.startswith(start):
            return repo, name.removeprefix(start)
    return "", name
