"""The engine's state for one /metrics scrape."""

from __future__ import annotations

from dataclasses import dataclass

from server.observability.gpus import Gpu


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """The cache in blocks, as routers count."""

    size: int = 0
    """Tokens of a block; 0 if that is not known."""
    cache_type: str = ""
    num_host_bytes: int = 0
    cell_bytes: int = 0

    def in_slots(self, n_ctx: int) -> int:
        """Blocks that all slots have room for, with `n_ctx` tokens."""
        return n_ctx // self.size if self.size else 0

    @property
    def in_host_memory(self) -> int:
        """Blocks that host memory has room for."""
        block_bytes = self.size * self.cell_bytes
        return self.num_host_bytes // block_bytes if block_bytes else 0


@dataclass(frozen=True, slots=True)
class AdapterUse:
    """The adapters of the sequences that run and of those that wait, by name."""

    num_loaded: int
    running: tuple[str, ...]
    waiting: tuple[str, ...]


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
    blocks: BlockSizes = BlockSizes()
    adapters: AdapterUse | None = None
    """None without adapters."""
