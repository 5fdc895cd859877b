"""The GPUs of this machine, as NVIDIA's management library (NVML) sees them.

The bindings are the optional package nvidia-ml-py. Without the package, a driver or a GPU there is
nothing to see.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

READ_SECONDS = 1.0
"""How long a scrape waits for the driver. A driver that hangs must not hide the other metrics."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that keeps CUDA programs, such as the engine, from some GPUs."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment. What the driver doesn't tell is None."""

    index: int
    name: str
    uuid: str
    memory_used: int | None
    """In bytes, by all processes."""
    memory_total: int | None
    utilization: float | None
    """Share of the last moments in which the GPU computed, from 0 to 1."""


class GpuSource(Protocol):
    """Tells of the GPUs at each scrape."""

    async def read(self) -> tuple[Gpu, ...]:
        """The GPUs now."""
        ...


class NoGpus:
    """A machine without GPUs."""

    async def read(self) -> tuple[Gpu, ...]:
        """None."""
        return ()


class NvmlGpus:
    """Asks the driver, in a thread."""

    def __init__(self, nvml: Any, environ: Mapping[str, str] = os.environ) -> None:
        """`nvml` is the module `pynvml`, initialized."""
        self._nvml = nvml
        self._visible = environ.get(VISIBLE)
        self._reading: asyncio.Future[tuple[Gpu, ...]] | None = None

    async def read(self) -> tuple[Gpu, ...]:
        """The GPUs that CUDA programs may use; none while the driver doesn't answer.

        The driver is asked once at a time.
        """
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.get_running_loop().create_future()
            # A daemon: if the driver never answers, the process can end all the same.
            threading.Thread(target=self._answer, args=(reading,), daemon=True).start()
        done, _ = await asyncio.wait([reading], timeout=READ_SECONDS)
        return reading.result() if done else ()

    def _answer(self, reading: asyncio.Future[tuple[Gpu, ...]]) -> None:
        try:
            found = self._read()
        except Exception:
            logger.exception("the GPUs' state can't be read")
            found = ()
        with suppress(RuntimeError):  # the loop may have ended meanwhile
            reading.get_loop().call_soon_threadsafe(reading.set_result, found)

    def _read(self) -> tuple[Gpu, ...]:
        count = self._asked(self._nvml.nvmlDeviceGetCount) or 0
        found = [gpu for gpu in map(self._gpu, range(count)) if gpu is not None]
        return tuple(gpu for gpu in found if is_visible(gpu, self._visible))

    def _gpu(self, index: int) -> Gpu | None:
        nvml = self._nvml
        handle = self._asked(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:  # it has fallen off the bus, for instance
            return None
        memory = self._asked(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._asked(nvml.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=index,
            name=_text(self._asked(nvml.nvmlDeviceGetName, handle)),
            uuid=_text(self._asked(nvml.nvmlDeviceGetUUID, handle)),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            utilization=None if rates is None else rates.gpu / 100,
        )

    def _asked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the driver answers; None if it can't."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None


def find_gpus() -> GpuSource:
    """The GPUs of this machine, if NVML can be asked."""
    try:
        import pynvml
    except ImportError:
        return NoGpus()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return NoGpus()
    return NvmlGpus(pynvml)


def is_visible(gpu: Gpu, visible: str | None) -> bool:
    """Whether CUDA programs may use the GPU; `visible` is the value of CUDA's variable.

    A name that is neither a number nor a GPU's id, such as a part of a GPU, hides nothing.
    """
    if visible is None:
        return True
    names = [name.strip() for name in visible.split(",")]
    if any(name and not name.lstrip("-").isdigit() and name[:4] != "GPU-" for name in names):
        return True
    return any(
        name == str(gpu.index) or (name[:4] == "GPU-" and gpu.uuid.startswith(name))
        for name in names
    )


def _text(value: Any) -> str:
    """Older bindings answer in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
