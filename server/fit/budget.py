"""How much memory there is: this machine's, as far as it is free, or what the operator names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.footprint import DeviceMemory
from server.engine.machine_memory import usable_memory

_MEMINFO = Path("/proc/meminfo")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
_CGROUP_STAT = Path("/sys/fs/cgroup/memory.stat")
_CGROUP_MAX = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that a model may take."""

    host: int
    devices: tuple[int, ...] = ()

    @property
    def device(self) -> int:
        """Of all devices together."""
        return sum(self.devices)

    def less(self, host: int, devices: Sequence[int]) -> Budget:
        """The budget without these bytes in each place."""
        pairs = zip(self.devices, devices, strict=True)
        return Budget(
            max(self.host - host, 0), tuple(max(free - taken, 0) for free, taken in pairs)
        )


def free_host_bytes() -> int:
    """What this machine or container has available, without taking from others."""
    free = min((free for free in (_available(), _left_in_cgroup()) if free), default=0)
    return min(free or usable_memory(), usable_memory())


def this_machine(devices: Sequence[DeviceMemory]) -> Budget:
    """What is free here."""
    return Budget(free_host_bytes(), tuple(device.free for device in devices))


def _available() -> int:
    """Bytes that Linux could give without swapping; 0 where this is not told."""
    for line in _lines(_MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _left_in_cgroup() -> int:
    """Bytes that a container's limit leaves; files in its cache can go. 0 without a limit."""
    try:
        limit, used = (int(path.read_text()) for path in (_CGROUP_MAX, _CGROUP_USED))
    except (OSError, ValueError):
        return 0
    cached = sum(
        int(line.split()[1])
        for line in _lines(_CGROUP_STAT)
        if line.startswith(("inactive_file ", "active_file "))
    )
    return max(limit - used + cached, 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
