"""What a scrape asks of the engine besides its counters."""

from __future__ import annotations

from dataclasses import dataclass

from server.context import ServerContext
from server.errors import Unavailable


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """The state of the engine process at one moment; sizes are 0 before it has loaded."""

    is_up: bool = False
    is_draining: bool = False
    n_slots: int = 0
    n_ctx: int = 0
    heartbeat_age: float | None = None

    @classmethod
    def of(cls, context: ServerContext) -> EngineFacts:
        """Those of a server's engine."""
        engine = context.engine
        try:
            n_slots, n_ctx = engine.model.n_slots, engine.model.n_ctx
        except Unavailable:
            n_slots = n_ctx = 0
        draining = context.drain.has_begun
        return cls(engine.is_ready, draining, n_slots, n_ctx, engine.heartbeat_age)
