"""Scales vectors to length 1; the norm is given by llama-server's numbers."""

from __future__ import annotations

import numpy as np

from server.pooling.compute import Vectors

NONE = -1
LARGEST = 0
"""The largest entry is scaled to 32,760, so that all entries fit 16 bits."""

MAX_NORM = 64
"""Numbers from 1 to this one are p-norms; 2 is the Euclidean length."""


def normalized(vectors: Vectors, norm: int) -> Vectors:
    """The vectors, shape (vectors, floats), each scaled to length 1; a vector of zeros stays."""
    if norm == NONE:
        return vectors
    wide = vectors.astype(np.float64)
    if norm == LARGEST:
        lengths = np.abs(wide).max(axis=1, keepdims=True) / 32760.0
    else:
        largest = np.abs(wide).max(axis=1, keepdims=True)  # powers of the entries would overflow
        ratios = wide / np.where(largest > 0, largest, 1.0)
        lengths = largest * (np.abs(ratios) ** norm).sum(axis=1, keepdims=True) ** (1.0 / norm)
    scaled: Vectors = (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return scaled
