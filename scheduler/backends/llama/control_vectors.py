"""Control vectors: directions that are added to what each layer computes.

A file holds a tensor `direction.N` of 32-bit floats for each layer N that it steers, 1 being the
first one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib
from llama_cpp._ggml import libggml

from protocol.config import EngineConfig
from scheduler.backends.base import LoadError

Vector = np.ndarray[Any, np.dtype[np.float32]]

_F32 = 0


class _OpenParams(ctypes.Structure):
    """ggml's `gguf_init_params`: read the header alone."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def apply_control_vectors(context: Any, model: Any, config: EngineConfig) -> None:
    """Add the configured vectors to every batch of the context. Raises `LoadError`."""
    if not config.control_vectors:
        return
    n_embd, n_layer = lib.llama_model_n_embd(model), lib.llama_model_n_layer(model)
    total = np.zeros((n_layer, n_embd), dtype=np.float32)
    for file, scale in config.control_vectors:
        for layer, direction in _directions(Path(file)):
            if len(direction) != n_embd:
                raise LoadError(
                    f"--control-vector: {file} is for {len(direction)} values a layer, and the "
                    f"model has {n_embd}"
                )
            if layer <= n_layer:
                total[layer - 1] += scale * direction
    first, last = config.control_vector_layers
    data = total.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    code = lib.llama_set_adapter_cvec(
        context, data, total.size, n_embd, first if first > 0 else 1, last if last > 0 else n_layer
    )
    if code != 0:
        raise LoadError("--control-vector: llama.cpp can't use the vectors")


def _directions(file: Path) -> Iterator[tuple[int, Vector]]:
    """The layers that a file steers, and their directions."""
    if not file.is_file():
        raise LoadError(f"--control-vector: there is no file {file}")
    header = _function("gguf_init_from_file", ctypes.c_void_p, ctypes.c_char_p, _OpenParams)(
        str(file).encode(), _OpenParams(True, None)
    )
    if not header:
        raise LoadError(f"--control-vector: {file} is not a GGUF file")
    try:
        count = _function("gguf_get_n_tensors", ctypes.c_int64, ctypes.c_void_p)(header)
        if count == 0:
            raise LoadError(f"--control-vector: {file} has no directions")
        for index in range(count):
            yield _direction(file, header, index)
    finally:
        _function("gguf_free", None, ctypes.c_void_p)(header)


def _direction(file: Path, header: int, index: int) -> tuple[int, Vector]:
    name = _of_tensor("gguf_get_tensor_name", ctypes.c_char_p, header, index).decode()
    kind = _of_tensor("gguf_get_tensor_type", ctypes.c_int, header, index)
    word, _, number = name.partition(".")
    if word != "direction" or not number.isdigit() or int(number) == 0 or kind != _F32:
        raise LoadError(f"--control-vector: {file} has a tensor {name} that is no direction")
    start = _function("gguf_get_data_offset", ctypes.c_size_t, ctypes.c_void_p)(header)
    start += _of_tensor("gguf_get_tensor_offset", ctypes.c_size_t, header, index)
    size = _of_tensor("gguf_get_tensor_size", ctypes.c_size_t, header, index)
    values = np.fromfile(file, np.float32, count=size // 4, offset=start)
    if values.nbytes != size:
        raise LoadError(f"--control-vector: {file} is incomplete")
    return int(number), values


def _of_tensor(name: str, returns: Any, header: int, index: int) -> Any:
    return _function(name, returns, ctypes.c_void_p, ctypes.c_int64)(header, index)


def _function(name: str, returns: Any, *arguments: Any) -> Any:
    function = getattr(libggml, name)
    function.restype, function.argtypes = returns, list(arguments)
    return function
