"""A folder of saved prefixes, which a server leaves to the one that is started next."""

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
"""Age from which a file that is being written is nobody's any more."""

logger = logging.getLogger(__name__)


class DiskCache:
    """At most `capacity` bytes of files in `folder`; the least recently used ones go first.

    When a file was of use is its time of modification. Files of other models may be there too:
    they are left alone, and leave by age like all others.
    """

    def __init__(self, folder: Path, capacity: int, fingerprint: Fingerprint) -> None:
        self.folder = folder
        self.capacity = capacity
        self._fingerprint = fingerprint

    def load(self, max_bytes: int) -> Iterator[SavedPrefix]:
        """What fits into so many bytes, the most recently used first.

        Files that can't be used are named in the log, one line each, and stay where they are.
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

    def touch(self, tokens: list[int], scope: CacheScope, used: float) -> bool:
        """Whether the prefix is here already; if so, it was of use at `used`, in seconds of Unix
        time."""
        try:
            os.utime(self._path(tokens, scope), (used, used))
        except OSError:
            return False
        return True

    def store(self, prefix: SavedPrefix, used: float) -> None:
        """Write a prefix that was of use at `used`. Raises `PrefixFileError`."""
        path = self._path(prefix.tokens, prefix.scope)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PrefixFileError(error.strerror or str(error)) from error
        write_prefix(path, prefix, self._fingerprint)
        self.touch(prefix.tokens, prefix.scope, used)

    def trim(self) -> None:
        """Remove the oldest files beyond the capacity, and what was never finished."""
        total = 0
        for path, size in self._files():
            total += size
            if total > self.capacity:
                path.unlink(missing_ok=True)  # another server may have been faster
        for path in self.folder.glob(f".*{PARTIAL}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()

    def _files(self) -> list[tuple[Path, int]]:
        """Files and their bytes, from the most to the least recently used."""
        found: list[tuple[int, Path, int]] = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, path, facts.st_size))
        return [(path, size) for _, path, size in sorted(found, reverse=True)]

    def _path(self, tokens: list[int], scope: CacheScope) -> Path:
        """A name that tells nothing of the content, and is the same whenever the cells are."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(msgspec.msgpack.encode((self._fingerprint, scope)))
        digest.update(array("i", tokens).tobytes())
        return self.folder / f"{digest.hexdigest()}{SUFFIX}"
