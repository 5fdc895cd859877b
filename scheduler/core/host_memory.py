"""How much host memory prefixes and checkpoints may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.config import CheckpointConfig


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The bounds of what is kept of prompts outside of slots."""

    num_bytes: int = 0
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)


NO_HOST_MEMORY = HostMemory()
"""Nothing is kept."""
