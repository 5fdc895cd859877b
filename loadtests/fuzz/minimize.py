"""Makes a failing input smaller, as long as it still fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Fails = Callable[[bytes], Awaitable[bool]]


async def minimized(data: bytes, fails: Fails, tries: int = 60) -> bytes:
    """A part of `data` that still fails: ever smaller pieces are left out in turn."""
    size = max(len(data) // 2, 1)
    while tries > 0:
        start = 0
        while start < len(data) and tries > 0:
            shorter = data[:start] + data[start + size :]
            tries -= 1
            if await fails(shorter):
                data = shorter
            else:
                start += size
        if size == 1:
            return data
        size = max(size // 2, 1)
    return data
