"""The sizes of a context's buffers, which llama.cpp tells in C++ alone.

The function returns a `std::map` from a kind of memory to three sizes. Both C++ libraries keep a
map as a binary tree, and return it through memory that the caller has. So the caller is given the
map's own fields, and walks the tree. The few bytes of the tree are never freed.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llama_cpp import llama_cpp as lib

_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"
_MOST_ENTRIES = 4096
"""More kinds of memory than any machine has: a map of another form is not walked for long."""


@dataclass(frozen=True, slots=True)
class BufferSizes:
    """The bytes that a model and its context have in one kind of memory."""

    buffer_type: int
    """Address of the `ggml_backend_buffer_type`."""
    weights: int
    cells: int
    """Keys, values and recurrent states."""
    compute: int


class _Values(ctypes.Structure):
    _fields_ = (
        ("buffer_type", ctypes.c_void_p),
        ("weights", ctypes.c_size_t),
        ("cells", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    )


class _GnuMap(ctypes.Structure):
    """libstdc++'s map."""

    _fields_ = (
        ("compare", ctypes.c_size_t),
        ("color", ctypes.c_size_t),
        ("root", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
        ("last", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    )


class _GnuNode(ctypes.Structure):
    _fields_ = (
        ("color", ctypes.c_size_t),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("values", _Values),
    )


class _LlvmMap(ctypes.Structure):
    """libc++'s map, on macOS."""

    _fields_ = (
        ("first", ctypes.c_void_p),
        ("root", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
    )


class _LlvmNode(ctypes.Structure):
    _fields_ = (
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("parent", ctypes.c_void_p),
        ("is_black", ctypes.c_size_t),
        ("values", _Values),
    )


_MAP, _NODE = (_LlvmMap, _LlvmNode) if sys.platform == "darwin" else (_GnuMap, _GnuNode)


def memory_breakdown(context: Any) -> list[BufferSizes]:
    """The sizes by kind of memory.

    Raises `LookupError` if this build of llama.cpp does not tell them.
    """
    try:
        function = getattr(lib._lib, _SYMBOL)
    except AttributeError:
        raise LookupError("this build of llama.cpp does not tell its buffers' sizes") from None
    function.restype, function.argtypes = _MAP, [ctypes.c_void_p]
    found = function(context)
    sizes = list(_walk(found.root)) if found.size <= _MOST_ENTRIES else []
    if len(sizes) != found.size:
        raise LookupError("this build of llama.cpp tells its buffers' sizes in another form")
    return sizes


def _walk(address: int | None) -> Iterator[BufferSizes]:
    if not address:
        return
    node = _NODE.from_address(address)
    yield from _walk(node.left)
    values = node.values
    yield BufferSizes(values.buffer_type, values.weights, values.cells, values.compute)
    yield from _walk(node.right)
