"""Sizes as people read them."""

from __future__ import annotations

_UNITS = ("kB", "MB", "GB", "TB")


def human_size(count: int) -> str:
    """Bytes in powers of 1000, as disks and Ollama count them: `4.7 GB`."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in _UNITS:
        size /= 1000
        if size < 999.5 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if size >= 99.95 else f"{size:.1f} {unit}"
    raise AssertionError
