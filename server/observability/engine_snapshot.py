"""What a scrape asks of the engine besides its counters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The state of the engine process at one moment; sizes are 0 before it has loaded."""

    is_up: bool = False
    is_draining: bool = False
    n_slots: int = 0
    n_ctx: int = 0
    heartbeat_age: float | None = None
