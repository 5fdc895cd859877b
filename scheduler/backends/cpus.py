"""The CPU cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

MAX_SAMPLING_THREADS = 8
"""More threads wait for the interpreter's lock rather than sample."""


def usable_cores(cpus: Collection[int] = ()) -> int:
    """Physical cores that this process may run on, within its cgroup's quota; at least 1.

    With `cpus`, only cores of these logical CPUs count.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in (allowed.intersection(cpus) if cpus else allowed)}
    quota = _cgroup_quota()
    return max(1, min(len(cores), quota) if quota else len(cores))


def sampling_threads(wanted: int, *, cores: int, busy: int, n_slots: int) -> int:
    """How many threads sample, with the engine's own one; at least 1.

    0 wanted threads means one for each core that nothing else needs. The model computes on `busy`
    cores, one of them by the engine's own thread. Another core is left to the API process.
    """
    most = wanted or min(cores - busy, MAX_SAMPLING_THREADS)
    return max(1, min(most, n_slots))


def _siblings(cpu: int) -> str:
    """A name for the physical core that a logical CPU belongs to."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return path.read_text()
    except OSError:
        return str(cpu)


def _cgroup_quota() -> int:
    """Whole CPUs in the container's quota, or 0 without one (cgroup v2's `cpu.max`)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 0
    return 0 if quota == "max" else max(1, int(quota) // int(period))
