"""The demo model at a measurable size: `demo-300m-TYPE` of the bench models.

The inflated model computes what the demo model computes (see models/train/inflate.py). So its
answers, and how often the demo draft predicts them, are those of a trained pair. A step costs as
much as with 300M weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"
TARGET, DRAFT = DEMO / "demo-target.gguf", DEMO / "demo-draft.gguf"
NAME = "demo-300m"
PARAMETERS, LAYERS = 300_000_000, 20

Quantize = Callable[[Path, Path, str], None]
"""Converts a file with F16 weights to a file of the named type."""


def ensure_inflated(
    kind: str, folder: Path, quantize: Quantize, parameters: int = PARAMETERS
) -> Path:
    """The path of the inflated demo model of this type; makes the file if it doesn't exist.

    The name contains the demo model's digest, because the demo model may be trained further.
    """
    path = folder / f"{NAME}-{kind}-{_digest(TARGET)}-{parameters // 1_000_000}m.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(kind, quantize, parameters, path)
    return path


def _make(kind: str, quantize: Quantize, parameters: int, path: Path) -> None:
    """Write the model to `path`, completely or not at all."""
    from models.train.inflate import inflate

    halves, result = path.with_suffix(".f16.part"), path.with_suffix(".part")
    try:
        inflate(TARGET, halves, parameters=parameters, layers=LAYERS, kind="F16")
        if kind == "f16":
            halves.rename(result)
        else:
            quantize(halves, result, kind)
        result.rename(path)
    finally:
        halves.unlink(missing_ok=True)
        result.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=4).hexdigest()
