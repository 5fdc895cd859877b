"""llama.cpp's own files of sequences: the token list in its shapes, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from scheduler.core.cache_scope import NO_SCOPE
from scheduler.storage.llama_file import is_llama_file, read_llama_file, write_llama_file
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix

ROOM = 1 << 20
CELLS = b"the cells"


def file_of(*words: int, version: int = 3, cells: bytes = CELLS) -> bytes:
    start = struct.pack("=III", 0x67677371, version, len(words))
    return start + struct.pack(f"={len(words)}i", *words) + cells


@pytest.mark.parametrize("tokens", [[], [7], [1, 2, 3], list(range(1000))])
def test_what_is_written_is_read(tmp_path: Path, tokens: list[int]) -> None:
    path = tmp_path / "slot"
    size = write_llama_file(path, SavedPrefix(tokens, NO_SCOPE, CELLS))
    assert size == path.stat().st_size
    assert is_llama_file(path)
    prefix, found = read_llama_file(path, max_bytes=ROOM)
    assert (prefix.tokens, bytes(prefix.state), found) == (tokens, CELLS, size)
    assert prefix.is_portable


@pytest.mark.parametrize(
    ("words", "tokens"),
    [((5, 6, 7), [5, 6, 7]), ((), []), ((-1, 1, 2, 5, 6, 0), [5, 6]), ((-1, 1, 0, 0), [])],
)
def test_plain_and_packed_lists_of_tokens(
    tmp_path: Path, words: tuple[int, ...], tokens: list[int]
) -> None:
    path = tmp_path / "slot"
    path.write_bytes(file_of(*words))
    assert read_llama_file(path, max_bytes=ROOM)[0].tokens == tokens


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "too early"),
        (file_of(5)[:10], "too early"),
        (file_of(5, cells=b"")[:-1], "too early"),
        (file_of(5, version=2), "version 2"),
        (file_of(-1, 2, 1, 5, 0), "can't be read"),
        (file_of(-1, 1), "can't be read"),
        (file_of(-1, 1, 9, 5, 0), "can't be read"),
        (file_of(-1, 1, -5, 5, 0), "can't be read"),
        (file_of(-1, 1, 1, 5, 1, 0, 0), "images"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "slot"
    path.write_bytes(data)
    with pytest.raises(PrefixFileError, match=message):
        read_llama_file(path, max_bytes=ROOM)


def test_a_file_may_be_missing_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(PrefixFileError, match="no such file"):
        is_llama_file(tmp_path / "none")
    path = tmp_path / "slot"
    path.write_bytes(file_of(*range(100)))
    with pytest.raises(PrefixFileError, match="room for"):
        read_llama_file(path, max_bytes=50)
