"""The cache of Hugging Face's tools: what they have downloaded is found, and they find what we add.

models--USER--REPO/
    blobs/ETAG                      the content
    snapshots/COMMIT/PATH           a link to a blob
    refs/main                       the newest commit that is known
.locks/models--USER--REPO/ETAG.lock
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from server.store.errors import StoreError

REVISION = "main"
_PREFIX = "models--"


class RepoCache:
    """The part of the cache that belongs to one repository.

    The files of a split model must be of one commit, so commits are looked at one by one.
    """

    def __init__(self, cache: Path, repo: str) -> None:
        self.repo = repo
        self.folder = cache / f"{_PREFIX}{repo.replace('/', '--')}"
        self._locks = cache / ".locks" / self.folder.name

    def blob(self, etag: str) -> Path:
        """Where the content with this etag lies."""
        return self.folder / "blobs" / etag

    def lock(self, etag: str) -> Path:
        """The lock of whoever downloads the content."""
        return self._locks / f"{etag}.lock"

    def files(self, snapshot: Path) -> dict[str, Path]:
        """The files of a commit that are there whole, by their names."""
        paths = (path for path in sorted(snapshot.rglob("*")) if path.is_file())
        return {path.relative_to(snapshot).as_posix(): path for path in paths}

    def snapshots(self) -> list[Path]:
        """The folders of commits, the newest first."""
        current = self.commit()
        folders = [path for path in _children(self.folder / "snapshots") if path.is_dir()]
        return sorted(folders, key=lambda path: (path.name != current, -path.stat().st_mtime))

    def commit(self) -> str:
        """The newest commit that is known, or an empty text."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.folder / "refs" / REVISION).read_text("ascii").strip()
        return ""

    def link(self, commit: str, name: str, etag: str) -> Path:
        """Show a blob under its name in a commit. Raises `StoreError`."""
        place = self.folder / "snapshots" / commit / name
        target = os.path.relpath(self.blob(etag), place.parent)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                partial = _beside(place)
                partial.symlink_to(target)
                partial.replace(place)
        except OSError as error:
            raise StoreError(f"can't write {place}: {error.strerror}") from None
        return place

    def set_commit(self, commit: str) -> None:
        """Note the newest commit, after its files are there; not in a cache of others."""
        place = self.folder / "refs" / REVISION
        if commit == self.commit():
            return
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = _beside(place)
            partial.write_text(commit, "ascii")
            partial.replace(place)


def cached_repos(cache: Path) -> list[RepoCache]:
    """All repositories in the cache, by name."""
    names = (path.name for path in _children(cache) if path.name.startswith(_PREFIX))
    return [
        RepoCache(cache, name.removeprefix(_PREFIX).replace("--", "/", 1)) for name in sorted(names)
    ]


def etag_of(path: Path) -> str:
    """The etag of a file in a snapshot; empty for a file that is no link to a blob."""
    target = path.resolve()
    return target.name if target.parent.name == "blobs" else ""


def _beside(place: Path) -> Path:
    """A name of nobody else, under which a file is made before it gets its place."""
    return place.with_name(f"{place.name}.{secrets.token_hex(8)}.tmp")


def _children(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.iterdir()
