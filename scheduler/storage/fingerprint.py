"""What saved cells belong to: anywhere else they would be noise, and give wrong tokens."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

EDGE_BYTES = 1 << 20
"""Of a file's beginning and of its end, all of it counts."""

SAMPLE_BYTES = 16 << 10
NUM_SAMPLES = 256
"""In between so many places do: a fine-tuned model differs from its base in every layer."""

_SPLIT = re.compile(r"-00001-of-(\d{5})(?=\.gguf$)")


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in a cell besides the tokens. Whatever comes to change
    that has to be part of it."""

    model: str
    """A digest of the model's files."""
    build: str
    """Of llama.cpp, which may change how cells are computed and written down."""
    context: str
    """Types and layout of the cells, and how positions are encoded."""

    def difference(self, other: Fingerprint) -> str:
        """What makes cells of `other` useless here, as the end of a sentence; "" if nothing."""
        if other.model != self.model:
            return "it is of another model"
        if other.build != self.build:
            return f"it is of another build of llama.cpp ({other.build}; this is {self.build})"
        if other.context != self.context:
            return f"it is of another context ({other.context}; this is {self.context})"
        return ""


def digest_of_model(path: Path) -> str:
    """Of a model's size, edges and samples, not of its name; of a split one, of all its files.

    Raises `OSError`.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(path):
        with part.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(size.to_bytes(8, "little"))
            for start, length in _samples(size):
                file.seek(start)
                digest.update(file.read(length))
    return digest.hexdigest()


def stamp_of_model(path: Path) -> list[tuple[int, ...]]:
    """What becomes another one when a model's files are replaced, or written to; 0 for a file
    that is not there."""
    return [_stamp(part) for part in _parts(path)]


def digest_of_file(path: Path) -> str:
    """Of all that is in the file. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        facts = path.stat()
    except OSError:
        return (0,)
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _parts(path: Path) -> list[Path]:
    match = _SPLIT.search(path.name)
    if match is None:
        return [path]
    names = (
        _SPLIT.sub(f"-{number:05}-of-{match[1]}", path.name)
        for number in range(1, int(match[1]) + 1)
    )
    return [path.with_name(name) for name in names]


def _samples(size: int) -> list[tuple[int, int]]:
    """Places and lengths to read of a file."""
    if size <= 2 * EDGE_BYTES + NUM_SAMPLES * SAMPLE_BYTES:
        return [(0, size)]
    inner = size - 2 * EDGE_BYTES - SAMPLE_BYTES
    starts = (EDGE_BYTES + inner * index // (NUM_SAMPLES - 1) for index in range(NUM_SAMPLES))
    return [
        (0, EDGE_BYTES),
        *((start, SAMPLE_BYTES) for start in starts),
        (size - EDGE_BYTES, EDGE_BYTES),
    ]
