"""The threads of a llama.cpp context, where the operator has placed them."""

from __future__ import annotations

import ctypes
import logging
import os
from typing import Any

from llama_cpp import llama_cpp as lib
from llama_cpp._ggml import libggml

from protocol.config import DEFAULT_POLL, EngineConfig, Placement
from scheduler.backends.base import LoadError

MAX_CPUS = 512
NICE = {-1: 5, 0: 0, 1: -5, 2: -10, 3: -20}
"""Nice values of the priorities, which are llama.cpp's."""
NUMA = {"distribute": 1, "isolate": 2, "numactl": 3}

_CPU_DEVICE = 0
_NORMAL_PRIORITY = 0

logger = logging.getLogger(__name__)


class _PoolParams(ctypes.Structure):
    """ggml's `ggml_threadpool_params`."""

    _fields_ = (
        ("cpumask", ctypes.c_bool * MAX_CPUS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    )


class ThreadPools:
    """One pool of threads for decoding and one for prefill, attached to a context.

    Without a placement, and with the default poll level, llama.cpp makes its own threads.
    """

    def __init__(self, context: Any, config: EngineConfig) -> None:
        """Raises `LoadError` for CPUs that this process may not use."""
        self._pools: list[int] = []
        self._alone: list[list[int]] = [[], []]
        if not _is_placed(config) and config.poll == DEFAULT_POLL:
            return
        decode = _params(config.placement, lib.llama_n_threads(context), config)
        batch = _params(config.placement_batch, lib.llama_n_threads_batch(context), config)
        new = _cpu_function("ggml_threadpool_new", ctypes.c_void_p)
        pools = [new(ctypes.byref(batch))]
        decode.paused = True
        pools.append(new(ctypes.byref(decode)))
        if not all(pools):
            raise LoadError("llama.cpp can't make the threads")
        self._pools = pools
        self._alone = [_cpus(one) if one.n_threads == 1 else [] for one in (decode, batch)]
        lib._lib.llama_attach_threadpool(
            ctypes.c_void_p(context), ctypes.c_void_p(pools[1]), ctypes.c_void_p(pools[0])
        )

    def place(self, num_rows: int) -> None:
        """Move the calling thread to the CPUs of a batch that it computes alone: OpenMP places
        threads only where there are several."""
        if cpus := self._alone[num_rows > 1]:
            os.sched_setaffinity(0, cpus)

    def close(self) -> None:
        """End the threads. The context must be free already."""
        free = _cpu_function("ggml_threadpool_free", None)
        for pool in self._pools:
            free(pool)
        self._pools = []


def set_priority(priority: int) -> None:
    """Give this thread, and all threads that it starts, a priority from -1 to 3.

    A priority that this user may not have is a warning in the log.
    """
    if priority == 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE[priority])
    except OSError as error:
        logger.warning("--prio %d has no effect: %s", priority, error.strerror)


def use_numa(strategy: str) -> None:
    """Tell llama.cpp how to use several memory nodes; "" does nothing. Backends must be loaded."""
    if strategy:
        lib.llama_numa_init(NUMA[strategy])


def _is_placed(config: EngineConfig) -> bool:
    """Whether any thread is placed. The draft model shares OpenMP's threads with the model."""
    placements = [config.placement, config.placement_batch]
    if config.draft is not None:
        placements += [config.draft.placement, config.draft.placement_batch]
    return any(one.cpus or one.strict for one in placements)


def _params(placement: Placement, n_threads: int, config: EngineConfig) -> _PoolParams:
    """The parameters of a pool. Threads without a mask would keep the mask of the other pool, so a
    pool without CPUs gets all."""
    allowed = os.sched_getaffinity(0)
    cpus = set(placement.cpus) & allowed if placement.cpus else allowed
    if not cpus:
        raise LoadError(
            f"--cpu-mask, --cpu-range: this process may use none of the CPUs "
            f"{', '.join(map(str, placement.cpus))}"
        )
    mask = (ctypes.c_bool * MAX_CPUS)(*(cpu in cpus for cpu in range(MAX_CPUS)))
    return _PoolParams(mask, n_threads, _NORMAL_PRIORITY, config.poll, placement.strict, False)


def _cpus(params: _PoolParams) -> list[int]:
    return [cpu for cpu, is_used in enumerate(params.cpumask) if is_used]


def _cpu_function(name: str, returns: Any) -> Any:
    """A function of ggml's CPU backend, which may be linked in or loaded from a file."""
    by_type = libggml.ggml_backend_dev_by_type
    by_type.restype = ctypes.c_void_p
    registry = libggml.ggml_backend_dev_backend_reg
    registry.restype, registry.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    address = libggml.ggml_backend_reg_get_proc_address
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]
    found = address(registry(by_type(_CPU_DEVICE)), name.encode())
    if not found:
        raise LoadError(f"this build of llama.cpp lacks {name}")
    return ctypes.CFUNCTYPE(returns, ctypes.c_void_p)(found)
