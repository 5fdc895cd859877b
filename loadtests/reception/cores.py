"""Which core a process runs on, and how long it has run there. Linux."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path


def check_system() -> None:
    """Raises `ValueError` where the system doesn't tell how long a process ran."""
    if not Path("/proc/self/schedstat").exists():
        raise ValueError("this benchmark needs Linux with /proc/PID/schedstat")


def split_cores() -> tuple[set[int], set[int]]:
    """The core of the API process, and those of all others; the same one where there is one."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, set(cores[1:] or cores)


def pin(pid: int, cores: Collection[int]) -> None:
    """Keep all threads of a process on these cores, and the threads that they will start."""
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread.name), cores)


def cpu_seconds(pid: int) -> float:
    """The time that the living threads of a process have run, in seconds, to the nanosecond."""
    nanoseconds = 0
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def _threads(pid: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from Path(f"/proc/{pid}/task").iterdir()
