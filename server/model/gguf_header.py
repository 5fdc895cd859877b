"""Reads the head of a GGUF file: its metadata, and how long the file has to be.

    | magic, version, counts | key-value pairs | tensor infos | padding | tensor data ...... |
    0                        24                               ^         ^                    ^
                                                    end of header    data start    needed_bytes

A tensor's offset counts from the data start. The file has to reach to the end of the tensor that
ends last. The reader skips strings and arrays, so that a vocabulary of 150,000 tokens costs only
some tens of milliseconds.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
_MOST_PAIRS = 1 << 16
_MOST_TENSORS = 1 << 20

_MAX_HEAD_BYTES = 1 << 30
"""Maximum size of a head; the largest vocabularies take some tens of MB."""

# The struct format of each scalar metadata type; type 8 is a string, type 9 an array.
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9

# By tensor type: elements in a block, bytes in a block.
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}


class GgufError(Exception):
    """The file isn't a GGUF file, or is damaged; the message continues "FILE ..."."""


@dataclass(frozen=True)
class GgufHeader:
    """The content of a file's head; `metadata` has the scalars and strings, not the arrays.

    `needed_bytes` is the minimum length of a complete file, computed from the known tensor types.
    """

    version: int
    metadata: Mapping[str, object]
    tensor_count: int
    needed_bytes: int

    def text(self, key: str) -> str:
        """A metadata string, or an empty one."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """A whole metadata number, or 0 if there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as a head describes it. `size` is 0 bytes for an unknown type."""

    name: str
    elements: int
    kind: int
    """The number of its type in ggml."""
    offset: int
    """Bytes from the data start."""
    size: int


def read_header(path: Path) -> GgufHeader:
    """Read the head of the file.

    Raises GgufError if the file isn't GGUF, has an unknown version, or ends or breaks within its
    head. Raises OSError if the file can't be opened.
    """
    return read_head(path)[0]


def read_head(path: Path) -> tuple[GgufHeader, list[Tensor]]:
    """Read the head of the file, with all tensors. Raises GgufError and OSError."""
    with path.open("rb") as file:
        _check_magic(file.read(8))
        size = min(os.fstat(file.fileno()).st_size, _MAX_HEAD_BYTES)
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
            return _Reader(data).head()


def _check_magic(start: bytes) -> None:
    if not start:
        raise GgufError("is empty")
    if start.startswith(b"version "):
        raise GgufError("is a Git LFS pointer instead of the model; run `git lfs pull`")
    if start[:4] != MAGIC:
        raise GgufError(f"is not a GGUF file: it starts with {start[:4]!r}")
    if len(start) < 8:
        raise GgufError("is incomplete: it ends within its header")


class _Reader:
    """Steps through the head of one file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._position = len(MAGIC)

    def head(self) -> tuple[GgufHeader, list[Tensor]]:
        try:
            return self._head()
        except (struct.error, OverflowError):
            # OverflowError: a damaged length points beyond every possible address.
            raise GgufError("is incomplete: it ends within its header") from None
        except UnicodeDecodeError:
            raise GgufError("is damaged: its metadata can't be read") from None

    def _head(self) -> tuple[GgufHeader, list[Tensor]]:
        version = self._scalar("I")
        if version not in VERSIONS:
            known = " and ".join(map(str, VERSIONS))
            raise GgufError(f"has GGUF version {version}; supported are {known}")
        tensor_count, pair_count = self._scalar("Q"), self._scalar("Q")
        metadata = dict(self._pair() for _ in _counted(pair_count, _MOST_PAIRS, "metadata values"))
        tensors = [self._tensor() for _ in _counted(tensor_count, _MOST_TENSORS, "tensors")]
        ends = [tensor.offset + tensor.size for tensor in tensors if tensor.size]
        needed = self._data_start(metadata) + max(ends) if ends else self._position
        return GgufHeader(version, metadata, tensor_count, needed), tensors

    def _pair(self) -> tuple[str, object]:
        key = self._string()
        kind = self._scalar("I")
        if kind == _STRING:
            return key, self._string()
        if kind == _ARRAY:
            self._skip_array()
            return key, None
        return key, self._scalar(_format(kind))

    def _skip_array(self) -> None:
        kind, count = self._scalar("I"), self._scalar("Q")
        if kind == _STRING:
            self._skip_strings(count)
        elif kind == _ARRAY:
            # The format allows it, but no loader reads it, and it could nest without end.
            raise GgufError("is damaged: its metadata has an array of arrays")
        else:
            self._skip(count * struct.calcsize("<" + _format(kind)))

    def _skip_strings(self, count: int) -> None:
        # Only this loop runs for each token of the vocabulary.
        unpack, data, position = struct.Struct("<Q").unpack_from, self._data, self._position
        for _ in range(count):
            position += 8 + unpack(data, position)[0]
        self._position = position

    def _tensor(self) -> Tensor:
        name = self._string()
        dimensions = self._scalar("I")
        if dimensions > _MOST_DIMENSIONS:
            raise GgufError(f"is damaged: a tensor has {dimensions} dimensions")
        elements = 1
        for _ in range(dimensions):
            elements *= self._scalar("Q")
        kind, offset = self._scalar("I"), self._scalar("Q")
        block, size = BLOCKS.get(kind, (1, 0))
        return Tensor(name, elements, kind, offset, elements // block * size)

    def _data_start(self, metadata: Mapping[str, object]) -> int:
        alignment = metadata.get("general.alignment")
        step = alignment if isinstance(alignment, int) and alignment > 0 else _DEFAULT_ALIGNMENT
        return -(-self._position // step) * step

    def _string(self) -> str:
        start = self._position + 8
        self._skip(8 + self._peek_length())
        return self._data[start : self._position].decode()

    def _peek_length(self) -> int:
        length: int = struct.unpack_from("<Q", self._data, self._position)[0]
        return length

    def _scalar(self, code: str) -> int:
        value: int = struct.unpack_from("<" + code, self._data, self._position)[0]
        self._position += struct.calcsize("<" + code)
        return value

    def _skip(self, count: int) -> None:
        if self._position + count > len(self._data):
            raise GgufError("is incomplete: it ends within its header")
        self._position += count


def _counted(count: int, most: int, what: str) -> Iterator[int]:
    """As `range(count)`. Raises `GgufError` after `most` of them."""
    yield from range(min(count, most))
    if count > most:
        raise GgufError(f"is damaged: it has {count:,} {what}")


def _format(kind: int) -> str:
    code = _SCALARS.get(kind)
    if code is None:
        raise GgufError(f"is damaged: its metadata has a value of unknown type {kind}")
    return code
