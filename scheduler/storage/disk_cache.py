"""The disk cache: a folder of saved prefixes, which a server leaves for the next one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scheduler.core.cache_scope import CacheScope
from scheduler.storage.fingerprint import Fingerprint
from scheduler.storage.prefix_file import (
    PARTIAL,
    PrefixFileError,
    SavedPrefix,
    read_prefix,
    write_prefix,
)

SUFFIX = ".prefix"
ABANDONED_SECONDS = 3600.0
"""Age from which an unfinished file counts as abandoned."""

logger = logging.getLogger(__name__)


class DiskCache:
    """At most `capacity` bytes of files in `folder`; the least recently used files go first.

    A file's time of modification is when its prefix was last used. The folder may hold files of
    other models too. They are not loaded, and are removed by age like all others.
    """

    def __init__(self, folder: Path, capacity: int, fingerprint: Fingerprint) -> None:
        self.folder = folder
        self.capacity = capacity
        self._fingerprint = fingerprint

    def load(self, max_bytes: int) -> Iterator[SavedPrefix]:
        """The prefixes that fit into `max_bytes`, the most recently used first.

        A file that can't be used is skipped, with a line in the log.
        """
        for path, size in self._files():
            if size > max_bytes:
                continue
            try:
                prefix, size = read_prefix(path, self._fingerprint, max_bytes=max_bytes)
            except PrefixFileError as error:
                logger.warning("ignored %s: %s", path, error)
            else:
                max_bytes -= size
                yield prefix

    def touch(
        self, tokens: list[int], scope: CacheScope, used: float, *, is_checkpoint: bool = False
    ) -> bool:
        """Whether the prefix or checkpoint is stored already. If so, note that it was used at
        `used`, in seconds of Unix time."""
        try:
            os.utime(self._path(tokens, scope, is_checkpoint), (used, used))
        except OSError:
            return False
        return True

    def store(self, prefix: SavedPrefix, used: float) -> None:
        """Write a prefix that was last used at `used`, in seconds of Unix time.

        Raises `PrefixFileError`.
        """
        path = self._path(prefix.tokens, prefix.scope, prefix.is_checkpoint)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PrefixFileError(error.strerror or str(error)) from error
        write_prefix(path, prefix, self._fingerprint)
        self.touch(prefix.tokens, prefix.scope, used, is_checkpoint=prefix.is_checkpoint)

    def trim(self) -> None:
        """Remove the oldest files beyond the capacity, and abandoned files."""
        total = 0
        for path, size in self._files():
            total += size
            if total > self.capacity:
                path.unlink(missing_ok=True)  # another server may have removed it
        for path in self.folder.glob(f".*{PARTIAL}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()

    def _files(self) -> list[tuple[Path, int]]:
        """Files and their sizes in bytes, the most recently used first."""
        found: list[tuple[int, Path, int]] = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, path, facts.st_size))
        return [(path, size) for _, path, size in sorted(found, reverse=True)]

    def _path(self, tokens: list[int], scope: CacheScope, is_checkpoint: bool) -> Path:
        """A file name that hides the tokens, and is the same for the same cells."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(msgspec.msgpack.encode((self._fingerprint, scope, is_checkpoint)))
        digest.update(array("i", tokens).tobytes())
        return self.folder / f"{digest.hexdigest()}{SUFFIX}"
