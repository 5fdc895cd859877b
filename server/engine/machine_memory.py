"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""The file of cgroup v2, as a container sees it."""


def usable_memory(cgroup_limit: Path = CGROUP_LIMIT) -> int:
    """Bytes of the machine, or of the container's limit if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(cgroup_limit.read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return machine
    return min(machine, limit)
