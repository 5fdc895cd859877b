"""The fingerprint of saved cells. Under another fingerprint they would give wrong tokens."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

EDGE_BYTES = 1 << 20
"""Bytes at a file's beginning, and at its end, that are all part of the digest."""

SAMPLE_BYTES = 16 << 10
NUM_SAMPLES = 256
"""Places between the edges of which `SAMPLE_BYTES` are part of the digest. That is enough: a
fine-tuned model differs from its base in every layer."""

_SPLIT = re.compile(r"-00001-of-(\d{5})(?=\.gguf$)")


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what is in a cell, besides the tokens.

    A new setting that changes cells must become part of the fingerprint.
    """

    model: str
    """A digest of the model's files."""
    build: str
    """The build of llama.cpp, which decides how cells are computed and written."""
    context: str
    """Types and layout of the cells, and how positions are encoded."""

    def difference(self, other: Fingerprint) -> str:
        """Why cells of `other` can't be used here, as part of an error message; "" if they can."""
        if other.model != self.model:
            return "it is of another model"
        if other.build != self.build:
            return f"it is of another build of llama.cpp ({other.build}; this is {self.build})"
        if other.context != self.context:
            return f"it is of another context ({other.context}; this is {self.context})"
        return ""


def digest_of_model(path: Path) -> str:
    """A digest of a model's size, edges and samples; of all files if the model is split.

    The name does not count. Raises `OSError`.
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
    """A value that changes when a model's files are replaced or written to.

    One tuple for each file: device, inode, bytes and time of modification; (0,) for a file that
    is missing.
    """
    return [_stamp(part) for part in _parts(path)]


def digest_of_file(path: Path) -> str:
    """A digest of the whole content. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        facts = path.stat()
    except OSError:
        return (0,)
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def _parts(path: Path) -> list[Path]:
    """All files of a model, given the first one."""
    match = _SPLIT.search(path.name)
    if match is None:
        return [path]
    names = (
        _SPLIT.sub(f"-{number:05}-of-{match[1]}", path.name)
        for number in range(1, int(match[1]) + 1)
    )
    return [path.with_name(name) for name in names]


def _samples(size: int) -> list[tuple[int, int]]:
    """The ranges of a file that are part of the digest: (start, length) in bytes."""
    if size <= 2 * EDGE_BYTES + NUM_SAMPLES * SAMPLE_BYTES:
        return [(0, size)]
    inner = size - 2 * EDGE_BYTES - SAMPLE_BYTES
    starts = (EDGE_BYTES + inner * index // (NUM_SAMPLES - 1) for index in range(NUM_SAMPLES))
    return [
        (0, EDGE_BYTES),
        *((start, SAMPLE_BYTES) for start in starts),
        (size - EDGE_BYTES, EDGE_BYTES),
    ]
