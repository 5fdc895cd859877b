"""Amounts of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes of memory, of the machine and of its devices."""

    host: int = 0
    device: int = 0

    def most(self, other: MemoryUse) -> MemoryUse:
        """The larger of the two, of each kind."""
        return MemoryUse(max(self.host, other.host), max(self.device, other.device))

    def at_most(self, limit: MemoryUse) -> MemoryUse:
        """This much, but not more than the limit, of each kind that has a limit."""
        return MemoryUse(
            min(self.host, limit.host or self.host), min(self.device, limit.device or self.device)
        )


NO_MEMORY = MemoryUse()
