"""The disk cache loads the latest used prefixes first, and removes the oldest first."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from scheduler.core.cache_scope import NO_SCOPE, CacheScope
from scheduler.storage.disk_cache import ABANDONED_SECONDS, DiskCache
from scheduler.storage.fingerprint import Fingerprint
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix

HERE = Fingerprint(model="m", build="b", context="c")
ELSEWHERE = Fingerprint(model="x", build="b", context="c")
ROOM = 1 << 30


def saved(number: int, size: int = 100) -> SavedPrefix:
    return SavedPrefix([number] * 10, NO_SCOPE, bytes(size))


def cache(folder: Path, capacity: int = ROOM, fingerprint: Fingerprint = HERE) -> DiskCache:
    return DiskCache(folder, capacity, fingerprint)


def numbers(cache: DiskCache, max_bytes: int = ROOM) -> list[int]:
    return [prefix.tokens[0] for prefix in cache.load(max_bytes)]


@pytest.fixture
def filled(tmp_path: Path) -> DiskCache:
    """Four prefixes; the third was used last."""
    filled = cache(tmp_path / "a" / "b")
    for number, used in ((1, 100.0), (2, 300.0), (3, 400.0), (4, 200.0)):
        filled.store(saved(number), used)
    return filled


def test_the_last_used_come_first(filled: DiskCache) -> None:
    assert numbers(filled) == [3, 2, 4, 1]


def test_no_folder_is_nothing(tmp_path: Path) -> None:
    assert numbers(cache(tmp_path / "none")) == []
    cache(tmp_path / "none").trim()


def test_what_was_touched_was_of_use(filled: DiskCache) -> None:
    assert filled.touch([1] * 10, NO_SCOPE, 500.0)
    assert not filled.touch([1] * 10, CacheScope("salt"), 500.0)
    assert not filled.touch([1] * 9, NO_SCOPE, 500.0)
    assert numbers(filled) == [1, 3, 2, 4]


def test_only_what_fits_is_loaded(filled: DiskCache) -> None:
    size = next(filled.folder.iterdir()).stat().st_size
    filled.store(saved(5, 10_000), 1000.0)
    assert numbers(filled, 3 * size) == [3, 2, 4]


def test_the_oldest_files_go_whosever_they_are(filled: DiskCache) -> None:
    other = cache(filled.folder, fingerprint=ELSEWHERE)
    other.store(saved(6), 250.0)
    size = max(path.stat().st_size for path in filled.folder.iterdir())
    cache(filled.folder, 3 * size).trim()
    assert numbers(filled) == [3, 2]
    assert numbers(other) == [6]


def test_the_unfinished_go_when_nobody_writes_them_any_more(filled: DiskCache) -> None:
    new, old = filled.folder / ".new.partial", filled.folder / ".old.partial"
    for path in (new, old):
        path.touch()
    os.utime(old, (0, new.stat().st_mtime - ABANDONED_SECONDS - 1))
    filled.trim()
    assert new.exists()
    assert not old.exists()


def test_what_can_not_be_used_is_named_once_and_left(
    filled: DiskCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache(filled.folder, fingerprint=ELSEWHERE).store(saved(6), 250.0)
    (filled.folder / "foreign.prefix").write_bytes(b"something else")
    (filled.folder / "note.txt").write_text("not ours at all")
    with caplog.at_level(logging.WARNING):
        assert numbers(filled) == [3, 2, 4, 1]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert any(line.endswith("it is of another model") for line in lines)
    assert any("foreign.prefix: it is not a file of a saved prefix" in line for line in lines)
    assert len(list(filled.folder.iterdir())) == 7


def test_a_folder_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PrefixFileError):
        cache(tmp_path / "file" / "folder").store(saved(1), 0.0)
