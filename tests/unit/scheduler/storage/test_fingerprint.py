"""Digests are equal for copies of a file, and differ after every change that matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.storage.fingerprint import (
    EDGE_BYTES,
    NUM_SAMPLES,
    SAMPLE_BYTES,
    digest_of_file,
    digest_of_model,
)

LARGE = 2 * EDGE_BYTES + 4 * NUM_SAMPLES * SAMPLE_BYTES


def test_a_copy_has_the_same_digest(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"model")
    assert digest_of_model(tmp_path / "a.gguf") == digest_of_model(tmp_path / "b.gguf")


@pytest.mark.parametrize("size", [100, LARGE])
def test_changes_show(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.gguf"
    content = bytearray(size)
    digests = set()
    # The edges, and a run in the middle that is as long as the way from sample to sample.
    for start, stop in ((0, 0), (0, 1), (size - 1, size), (size // 2, size // 2 + 50_000 + 16_000)):
        changed = bytearray(content)
        changed[start:stop] = b"\1" * (min(stop, size) - start)
        path.write_bytes(changed)
        digests.add(digest_of_model(path))
    path.write_bytes(content + b"\0")
    digests.add(digest_of_model(path))
    assert len(digests) == 5


def test_all_files_of_a_split_model_count(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    before = digest_of_model(first)
    second.write_bytes(b"owt")
    assert digest_of_model(first) != before


def test_a_library_counts_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    path.write_bytes(b"\0" * 10_000_000)
    before = digest_of_file(path)
    path.write_bytes(b"\0" * 5_000_000 + b"\1" + b"\0" * 4_999_999)
    assert digest_of_file(path) != before
