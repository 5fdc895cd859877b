"""The engine's state for one /metrics scrape."""

from __future__ import annotations

from dataclasses import dataclass

from server.observability.gpus import Gpu


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The state of the engine process at one moment; sizes are 0 before the model is loaded."""

    is_up: bool = False
    is_draining: bool = False
    n_slots: int = 0
    n_ctx: int = 0
    heartbeat_age: float | None = None
    """Seconds since the engine's loop last ran; None before its first run."""
    gpus: tuple[Gpu, ...] = ()
    """The GPUs that the engine may use."""
