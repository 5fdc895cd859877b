"""What pulls have left that were stopped: found, and removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.store.errors import StoreError
from server.store.folders import Folders
from server.store.hub_cache import cached_repos
from server.store.locks import lock_if_free
from server.store.transfer import INCOMPLETE, version_of


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A file that is incomplete. `lock` is held by whoever downloads the file."""

    path: Path
    lock: Path
    size: int


def unfinished_downloads(folders: Folders) -> list[Unfinished]:
    """The incomplete files of our own folders and of the Hugging Face cache, by path."""
    return sorted(_all(folders), key=lambda one: one.path)


def remove_unfinished(one: Unfinished) -> int:
    """Remove an incomplete file. Returns its bytes; 0 for a file that is being downloaded.

    Raises `StoreError`.
    """
    try:
        with lock_if_free(one.lock) as is_ours:
            if not is_ours:
                return 0
            one.path.unlink(missing_ok=True)
            version_of(one.path).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"can't remove {one.path}: {error.strerror}") from None
    return one.size


def _all(folders: Folders) -> Iterator[Unfinished]:
    for folder in (folders.downloads, folders.imports):
        for path in _incomplete(folder):
            yield from _unfinished(path, path)
    for repo in cached_repos(folders.hugging_face):
        for path in _incomplete(repo.folder / "blobs"):
            etag = path.name.removesuffix(INCOMPLETE).partition(".")[0]
            yield from _unfinished(path, repo.lock(etag))


def _incomplete(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.rglob(f"*{INCOMPLETE}") if path.is_file()]
    return []


def _unfinished(path: Path, lock: Path) -> Iterator[Unfinished]:
    with suppress(OSError):
        size = path.stat().st_size
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock_if_free(lock) as is_free:
            if is_free:
                yield Unfinished(path, lock, size)
