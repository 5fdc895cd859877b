"""Inputs that are kept: small files by family, which every run mutates and the tests replay."""

from __future__ import annotations

import hashlib
from pathlib import Path

KEPT = Path(__file__).parents[2] / "tests" / "e2e" / "fuzz_corpus"
MOST_BYTES = 4096
"""Largest input that is kept as a seed; findings are kept at any size."""


def read(folder: Path, family: str) -> list[bytes]:
    """The inputs of a family, in the order of their names."""
    return [path.read_bytes() for path in sorted((folder / family).glob("*")) if path.is_file()]


def write(folder: Path, family: str, data: bytes) -> Path:
    """Keep an input; its name is its hash."""
    path = folder / family / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
