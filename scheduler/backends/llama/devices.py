"""ggml's devices, and its backends, if llama.cpp was built to load them from files.

A portable build has one library for each generation of CPUs. ggml takes the best library that this
machine can run. An ordinary build has its backends linked in, and nothing is loaded.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llama_cpp import llama_cpp as lib
from llama_cpp._ggml import libggml_base_path

from protocol.config import EngineConfig
from scheduler.backends.base import LoadError

libggml = lib._lib
"""ggml, as libllama.so sees it. A wheel has a copy of ggml under each of its names. The bindings
load another one than libllama.so, and each has a list of devices of its own."""

MIB = 1 << 20
_CPU = 0
_GPUS = (1, 2)
"""GPUs with memory of their own, and those that share the CPU's memory."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that computes: a CPU, a GPU or an accelerator. Sizes are in bytes."""

    address: int
    name: str
    description: str
    is_cpu: bool
    is_gpu: bool
    free_bytes: int
    total_bytes: int


def devices() -> Iterator[Device]:
    """All devices. The backends must be loaded."""
    for address in _addresses():
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory = ggml_function("ggml_backend_dev_memory", None, *[ctypes.c_void_p] * 3)
        memory(address, ctypes.byref(free), ctypes.byref(total))
        kind = ggml_function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(address)
        yield Device(
            address,
            _text("ggml_backend_dev_name", address),
            _text("ggml_backend_dev_description", address),
            kind == _CPU,
            kind in _GPUS,
            free.value,
            total.value,
        )


def buffer_types() -> dict[str, int]:
    """The kinds of memory by their names: the address of each. The backends must be loaded."""
    buffer_type = ggml_function("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)
    found = (buffer_type(address) for address in _addresses())
    return {_text("ggml_backend_buft_name", address): address for address in found if address}


def places_of_buffers(buffer_types: Sequence[int]) -> dict[int, tuple[str, str]]:
    """By the address of a kind of memory: its name, and the device that has the memory.

    The device is "" for the host's memory, also where a CPU has kinds of memory of its own.
    """
    is_host = ggml_function("ggml_backend_buft_is_host", ctypes.c_bool, ctypes.c_void_p)
    device_of = ggml_function("ggml_backend_buft_get_device", ctypes.c_void_p, ctypes.c_void_p)
    names = {device.address: device.name for device in devices() if not device.is_cpu}
    return {
        address: (
            _text("ggml_backend_buft_name", address),
            "" if is_host(address) else names.get(device_of(address), ""),
        )
        for address in buffer_types
    }


def have_gpu() -> bool:
    """Whether there is a device that computes without CPU cores. The backends must be loaded."""
    kind = ggml_function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    return any(kind(address) in _GPUS for address in _addresses())


def have_device() -> bool:
    """Whether there is any device besides the CPU. The backends must be loaded."""
    kind = ggml_function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    return any(kind(address) != _CPU for address in _addresses())


def num_stages(config: EngineConfig) -> int:
    """GPUs that have different layers of the model: llama.cpp computes as many micro-batches of a
    batch at the same time. At least 1. The backends must be loaded."""
    if config.split_mode != "layer":
        return 1
    gpus = [device for device in devices() if device.is_gpu]
    return max(1, sum(not config.devices or device.name in config.devices for device in gpus))


def listing() -> list[str]:
    """Lines for people: what `--device` can name."""
    lines = [
        f"{one.name}: {one.description} ({one.total_bytes // MIB} MiB, "
        f"{one.free_bytes // MIB} MiB free)"
        for one in devices()
        if not one.is_cpu
    ]
    return ["Available devices:", *(f"  {line}" for line in lines or ["(none)"])]


def _addresses() -> list[int]:
    count = ggml_function("ggml_backend_dev_count", ctypes.c_size_t)()
    get = ggml_function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    return [get(index) for index in range(count)]


def _text(name: str, address: int) -> str:
    return str(
        ggml_function(name, ctypes.c_char_p, ctypes.c_void_p)(address).decode(errors="replace")
    )


def ggml_function(name: str, returns: Any, *arguments: Any) -> Any:
    """A function of ggml, with the types of its result and of its arguments."""
    function = getattr(libggml, name)
    function.restype, function.argtypes = returns, list(arguments)
    return function


def load_backends() -> None:
    """Load the backends once. Raises `LoadError` if this machine can run none of them."""
    libggml.ggml_backend_reg_count.restype = ctypes.c_size_t
    if libggml.ggml_backend_reg_count() == 0:
        libggml.ggml_backend_load_all_from_path(os.fsencode(libggml_base_path))
    if libggml.ggml_backend_reg_count() == 0:
        raise LoadError("llama.cpp was built without a backend for this machine")
