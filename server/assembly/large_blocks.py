"""Gives the memory of large bodies and answers back to the system as soon as it is free."""

from __future__ import annotations

import contextlib
import ctypes

_MMAP_THRESHOLD = -3
"""glibc's name for the size from which on each block is mapped by itself."""

_LARGE_BYTES = 64 * 1024


def return_large_blocks() -> None:
    """Fix the size from which on glibc maps blocks by themselves; without glibc, do nothing.

    glibc raises that size to that of the largest freed block, up to 32 MiB. Blocks below lie
    between others, and leave holes that other sizes don't fill.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
