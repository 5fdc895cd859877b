"""The memory of a process, as the operating system counts it."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Bytes of memory that a process has now, pages of mapped files included; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    return Path(f"/proc/{pid}").exists()


def device_bytes(pid: int) -> int:
    """Bytes of the memory of all GPUs that a process has now; 0 where the driver doesn't tell.

    Blocks while the driver is asked.
    """
    nvml = find_nvml()
    if nvml is None:
        return 0
    total = 0
    with contextlib.suppress(Exception):  # each driver fails in its own way
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if process.pid == pid:
                    total += process.usedGpuMemory or 0
    return total


@functools.cache
def find_nvml() -> Any:
    """The module `pynvml`, initialized; None without the package, a driver or a GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return None
    return pynvml


def total_device_bytes() -> int:
    """Bytes of the memory of all GPUs; 0 where the driver doesn't tell."""
    nvml = find_nvml()
    total = 0
    with contextlib.suppress(Exception):
        for index in range(0 if nvml is None else nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            total += nvml.nvmlDeviceGetMemoryInfo(handle).total
    return total
