"""llama.cpp's own file of one sequence, as llama-server saves a slot: tokens, then cells.

    | magic | version | number of words | words | cells |

Numbers and words are 32 bits wide, in the byte order of the machine. The words are the tokens, or
they begin with -1 and hold a packed list: a version, the tokens with their number before them, and
the media with their number before them. The file doesn't say of which model the cells are.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

from scheduler.core.cache_scope import NO_SCOPE
from scheduler.storage.prefix_file import PrefixFileError, SavedPrefix, file_errors, replacing

MAGIC = 0x67677371
VERSION = 3
PACKED = -1
PACKED_VERSION = 1

_START = struct.Struct("=III")
_WORD_BYTES = 4


def is_llama_file(path: Path) -> bool:
    """Whether a file begins like llama.cpp's. Raises `PrefixFileError`."""
    with file_errors(), path.open("rb") as file:
        return file.read(_WORD_BYTES) == struct.pack("=I", MAGIC)


def write_llama_file(path: Path, prefix: SavedPrefix) -> int:
    """Write a file that llama-server can restore, and replace an earlier one.

    Returns the bytes of the file. Raises `PrefixFileError`.
    """
    words = array("i", [PACKED, PACKED_VERSION, len(prefix.tokens), *prefix.tokens, 0])
    with file_errors(), replacing(path) as file:
        file.write(_START.pack(MAGIC, VERSION, len(words)))
        file.write(words.tobytes())
        file.write(prefix.state)
        return file.tell()


def read_llama_file(path: Path, *, max_bytes: int) -> tuple[SavedPrefix, int]:
    """The content of a file, and its size in bytes.

    Raises `PrefixFileError` if the file is damaged, of another version, or larger than `max_bytes`.
    Whether its cells fit the context, only llama.cpp can tell.
    """
    with file_errors(), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise PrefixFileError(
                f"it has {size} bytes, more than the {max_bytes} there is room for"
            )
        data = file.read()
    if len(data) < _START.size:
        raise PrefixFileError("it is damaged: it ends too early")
    _, version, num_words = _START.unpack_from(data)
    if version != VERSION:
        raise PrefixFileError(f"it has version {version} of llama.cpp's format; this is {VERSION}")
    stop = _START.size + _WORD_BYTES * num_words
    if stop > len(data):
        raise PrefixFileError("it is damaged: it ends too early")
    words = array("i", data[_START.size : stop])
    cells = memoryview(data)[stop:]
    return SavedPrefix(_tokens(words), NO_SCOPE, cells, is_portable=True), size


def _tokens(words: array[int]) -> list[int]:
    if not words or words[0] != PACKED:
        return list(words)
    if len(words) < 4 or words[1] != PACKED_VERSION or not 0 <= words[2] <= len(words) - 4:
        raise PrefixFileError("its list of tokens can't be read")
    stop = 3 + words[2]
    if len(words) != stop + 1 or words[stop] != 0:
        raise PrefixFileError("it holds images or audio")
    return list(words[3:stop])
