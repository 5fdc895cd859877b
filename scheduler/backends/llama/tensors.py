"""Where a model's tensors go: devices, and memory for tensors by their names."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from llama_cpp import llama_cpp as lib

from scheduler.backends.base import LoadError
from scheduler.backends.llama.devices import buffer_types, devices

NO_DEVICE = "none"


class _BufferRule(ctypes.Structure):
    """llama.cpp's `llama_model_tensor_buft_override`."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p))


def device_array(names: Sequence[str]) -> Any:
    """The array for `llama_model_params.devices`; None takes all devices.

    Raises `LoadError` for a name that no device has.
    """
    if not names:
        return None
    if tuple(names) == (NO_DEVICE,):
        return (ctypes.c_void_p * 1)()
    if NO_DEVICE in names:
        raise LoadError(f"--device: {NO_DEVICE} stands alone: it is the CPU without any device")
    known = {device.name: device.address for device in devices() if not device.is_cpu}
    if unknown := [name for name in names if name not in known]:
        there = ", ".join([*known, NO_DEVICE])
        raise LoadError(f"--device: there is no device {unknown[0]}; there are: {there}")
    return (ctypes.c_void_p * (len(names) + 1))(*(known[name] for name in names))


def share_array(shares: Sequence[float]) -> Any:
    """The array for `llama_model_params.tensor_split`; None without shares.

    Raises `LoadError` for more shares than llama.cpp knows devices.
    """
    if not shares:
        return None
    most: int = lib.llama_max_devices()
    if len(shares) > most:
        raise LoadError(f"--tensor-split: {len(shares)} shares, and at most {most} devices")
    return (ctypes.c_float * most)(*shares)


def buffer_array(rules: Sequence[tuple[str, str]]) -> Any:
    """The array for `llama_model_params.tensor_buft_overrides` from pairs of a regular expression
    and the name of a memory; None without rules. The first rule that matches a tensor counts.

    Raises `LoadError` for a name that no memory has.
    """
    if not rules:
        return None
    known = buffer_types()
    array = (_BufferRule * (len(rules) + 1))()  # the last one stays empty
    for item, (pattern, name) in zip(array, rules, strict=False):
        if name not in known:
            there = ", ".join(known)
            raise LoadError(f"--override-tensor: there is no memory {name}; there are: {there}")
        item.pattern, item.buft = pattern.encode(), known[name]
    return array
