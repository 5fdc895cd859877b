"""What the context was made with: sizes in tokens and bytes, and what the model can do."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.messages import EmbeddingInfo
from scheduler.core.abilities import CacheAbilities
from scheduler.core.state_sizes import StateSizes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """The bounds that all plans have to keep."""

    n_slots: int
    n_ctx_slot: int
    """Cells that one sequence may use."""
    n_ctx: int
    """Cells of all slots together. In unified mode they are fewer than the slots could use."""
    n_batch: int
    """Rows that one step may compute."""
    rows_at_once: int = 512
    """Rows that are computed at once. With more, a step takes longer and gains nothing."""
    end_tokens: frozenset[int]
    """Tokens that end an answer."""
    abilities: CacheAbilities
    adapters: frozenset[str] = frozenset()
    """Digests of the adapters that sequences may ask for."""
    embedding: EmbeddingInfo | None = None
    """None if the model was loaded without embeddings."""
    can_generate: bool = True
    itl_target: float = 0.1
    """Inter-token latency, in seconds, that running streams should see at most."""
    cache_bytes: int = 0
    """Host memory for prefixes that left their slot."""
    sizes: StateSizes = field(default_factory=StateSizes)
    """Host memory that such prefixes, and checkpoints, take."""
    max_checkpoints: int = 0
    """Most checkpoints in host memory."""
    checkpoint_step: int = 0
    """A long prompt gets a checkpoint each time so many tokens are computed; 0 gives it none."""
    n_outputs: int = 0
    """Rows of a step that may have logits. Draft tokens use those that exceed the chunks."""
