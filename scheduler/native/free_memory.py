"""Gives memory that was freed back to the system, which the C library does only in part."""

from __future__ import annotations

import ctypes
import sys


def give_memory_back() -> None:
    """Return freed memory to the system. Takes milliseconds, without the interpreter's lock.

    Freed memory stays with the process where something above it is still in use. Large automata
    leave a hundred megabytes of that kind.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # the GNU C library
        trim(ctypes.c_size_t(0))
