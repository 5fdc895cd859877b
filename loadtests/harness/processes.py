"""CPU time and memory of a process and all its descendants, from psutil and /proc."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

MIB = 1 << 20


class ProcessTree:
    """A process and the processes that it starts (an engine, for example). Any of them may end at
    any time."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def members(self) -> list[psutil.Process]:
        """The living processes of the tree, the root first. Reads all of /proc, so don't call it in
        a loop."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def terminate(self, grace_s: float = 15.0, orphan_grace_s: float = 1.0) -> None:
        """Ask the root to end and wait for it; give its children a moment; then kill what is
        left."""
        members = self.members()
        with contextlib.suppress(psutil.Error):
            self._root.send_signal(signal.SIGTERM)
        try:
            psutil.wait_procs(members[:1], timeout=grace_s)
            psutil.wait_procs(members[1:], timeout=orphan_grace_s)
        finally:  # also when a second Ctrl-C ends the waiting
            for process in members:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(members, timeout=5)


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """User and system CPU seconds of the processes that still live."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def pss_mib(processes: Sequence[psutil.Process]) -> float:
    """Proportional set size now, in MiB: each shared page counts once; NaN if unknown."""
    return _sum_mib(_pss_bytes(process.pid) for process in processes)


def peak_rss_mib(processes: Sequence[psutil.Process]) -> float:
    """Sum of the resident peaks since each process's start, in MiB."""
    return _sum_mib(_peak_rss_bytes(process) for process in processes)


def own_cpu_s() -> float:
    """CPU seconds of this process, over all threads."""
    return time.process_time()


def machine_busy_s() -> float:
    """CPU seconds that the machine has not been idle since its start."""
    times = psutil.cpu_times()
    waiting = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - waiting - guests)


def _sum_mib(sizes: Iterable[float | None]) -> float:
    known = [size for size in sizes if size is not None]
    return sum(known) / MIB if known else math.nan


def _pss_bytes(pid: int) -> float | None:
    """Proportional set size in bytes; None if the process has ended or the system has no such
    number."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return _field_bytes(text, "Pss:")


def _peak_rss_bytes(process: psutil.Process) -> float | None:
    with contextlib.suppress(OSError):
        return _field_bytes(Path(f"/proc/{process.pid}/status").read_text(), "VmHWM:")
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss)
    return None


def _field_bytes(text: str, field: str) -> float | None:
    """The value of a line such as `Pss:  1234 kB`."""
    for line in text.splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    return None
