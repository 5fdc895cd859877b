"""Functions of llama.cpp that are called without releasing the interpreter's lock.

A call of microseconds is cheaper when it keeps the lock. llama-cpp-python's own bindings release
the lock, which is right for calls that take longer.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib

LIBRARY_PATH = Path(lib._lib._name)
"""The shared library that llama-cpp-python has loaded."""

TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""The memory layout of llama.cpp's `llama_token_data`."""

_library = ctypes.PyDLL(str(LIBRARY_PATH))


def _function(name: str, returns: Any, *arguments: Any) -> Any:
    function = getattr(_library, name)
    function.restype = returns
    function.argtypes = list(arguments)
    return function


get_logits = _function("llama_get_logits", ctypes.c_void_p, ctypes.c_void_p)

sampler_sample = _function(
    "llama_sampler_sample", ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)
sampler_accept = _function("llama_sampler_accept", None, ctypes.c_void_p, ctypes.c_int32)
sampler_apply = _function(
    "llama_sampler_apply", None, ctypes.c_void_p, ctypes.POINTER(lib.llama_token_data_array)
)

get_sampled_logits = _function(
    "llama_get_sampled_logits_ith", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)
get_sampled_logits_count = _function(
    "llama_get_sampled_logits_count_ith", ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int32
)
get_sampled_candidates = _function(
    "llama_get_sampled_candidates_ith", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32
)

token_to_piece = _function(
    "llama_token_to_piece",
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_int32,
    ctypes.c_bool,
)
