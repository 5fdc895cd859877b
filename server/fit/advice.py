"""What fits, for one model in each quantization: the values behind the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from protocol.footprint import PartBytes
from server.fit.budget import Budget
from server.fit.candidates import Candidate
from server.fit.choice import Choice, Chooser, Layout, LayoutRange
from server.fit.layers import Layers, layers_of
from server.fit.needs import Needs
from server.store.sizes import human_size

DEPTH = 4096
"""Tokens of the slot whose keys and values one token is expected to read."""


@dataclass(frozen=True, slots=True)
class Bandwidths:
    """Bytes per second that are read from the host's memory and from a device's; 0 is unknown."""

    host: float
    device: float = 0.0


@dataclass(frozen=True, slots=True)
class Advice:
    """What fits of one candidate."""

    candidate: Candidate
    layers: Layers
    layouts: LayoutRange
    by_type: tuple[Choice, ...]
    """The most context with each type of cells."""
    best: Choice
    bytes_a_token: int
    """What a token of one stream reads, some thousand tokens into its slot."""
    tokens_a_second: float
    """What the bandwidth allows one stream at most; 0 if a bandwidth is unknown."""

    @property
    def verdict(self) -> str:
        """ "fits", "fits with ..." or "does not fit: ...", for people."""
        if not self.best.fits:
            return f"does not fit: {human_size(self.best.lacking)} too large"
        changes = self.changes
        return f"fits with {', '.join(changes)}" if changes else "fits"

    @property
    def changes(self) -> list[str]:
        """What differs from the model with all layers on the devices and its whole context."""
        layout, need = self.best.layout, self.best.need
        changes = []
        if layout.cache_type != self.layouts.cache_types[0]:
            changes.append(f"{layout.cache_type} cells")
        if layout.n_ctx_slot < self.layouts.n_ctx_slot:
            changes.append(f"{layout.n_ctx_slot:,} tokens")
        if self.best.has_devices and need.n_gpu_layers < self.layers.count:
            changes.append(f"{need.n_gpu_layers} of {self.layers.count} layers on the device")
        return changes


def advise(
    candidate: Candidate, needs: Needs, layouts: LayoutRange, budget: Budget, speeds: Bandwidths
) -> Advice:
    """What fits of a candidate. Raises `FitError`."""
    layers = layers_of(candidate.header, candidate.tensors).times(candidate.factor)

    def parts_of(layout: Layout) -> PartBytes:
        parts = needs.parts(layout)
        return msgspec.structs.replace(parts, weights=round(parts.weights * candidate.factor))

    chooser = Chooser(parts_of, layers, budget)
    best = chooser.choose(layouts)
    read = _bytes_read(layers, best)
    return Advice(
        candidate,
        layers,
        layouts,
        tuple(chooser.most(layouts, cache_type) for cache_type in layouts.cache_types),
        best,
        round(sum(read)),
        _tokens_a_second(read, speeds),
    )


def _bytes_read(layers: Layers, choice: Choice) -> tuple[float, float]:
    """Bytes that a token reads of the host's memory and of the devices'."""
    layout, parts, n_layers = choice.layout, choice.parts, choice.need.n_gpu_layers
    cells = parts.kv * min(DEPTH, layout.n_ctx_slot) / layout.n_ctx
    cells += parts.state / layout.n_slots
    on_device = layers.on_device(n_layers).read
    share = min(max(n_layers - 1, 0) / len(layers.blocks), 1.0) if layers.blocks else 0.0
    return layers.read - on_device + cells * (1 - share), on_device + cells * share


def _tokens_a_second(read: Sequence[float], speeds: Bandwidths) -> float:
    seconds = 0.0
    for num_bytes, speed in zip(read, (speeds.host, speeds.device), strict=True):
        if num_bytes >= 1:
            if not speed:
                return 0.0
            seconds += num_bytes / speed
    return 1 / seconds if seconds else 0.0
