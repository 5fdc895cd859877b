"""Loads ggml's backends, if llama.cpp was built to load them from files.

A portable build has one library for each generation of CPUs. ggml takes the best library that this
machine can run. An ordinary build has its backends linked in, and nothing is loaded.
"""

from __future__ import annotations

import ctypes
import os

from llama_cpp._ggml import libggml, libggml_base_path

from scheduler.backends.base import LoadError


def load_backends() -> None:
    """Load the backends once. Raises `LoadError` if this machine can run none of them."""
    libggml.ggml_backend_reg_count.restype = ctypes.c_size_t
    if libggml.ggml_backend_reg_count() == 0:
        libggml.ggml_backend_load_all_from_path(os.fsencode(libggml_base_path))
    if libggml.ggml_backend_reg_count() == 0:
        raise LoadError("llama.cpp was built without a backend for this machine")
