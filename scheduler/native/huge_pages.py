"""Tells how much of this process lies in huge pages."""

from __future__ import annotations

import re
from pathlib import Path

_SUMS = Path("/proc/self/smaps_rollup")


def huge_page_bytes(sums: Path = _SUMS) -> int | None:
    """Bytes of this process in transparent huge pages; None where the system doesn't tell.

    (AnonHugePages in Linux's Documentation/filesystems/proc.rst)
    """
    try:
        found = re.search(r"^AnonHugePages:\s+(\d+) kB$", sums.read_text(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1]) * 1024
