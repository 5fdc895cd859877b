"""Decides how many of a model's layers go to the devices, and whether what is left fits the host.

llama.cpp tells what a model takes on this machine's devices. For devices that this machine has not
got, the parts follow from the layers: each takes its weights and its share of the cells along. What
computes takes a buffer on every place that computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.footprint import PartBytes
from server.fit.budget import Budget
from server.fit.layers import Layers


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes by place, with so many layers on the devices."""

    host: int
    device: int
    n_gpu_layers: int

    def lacks(self, budget: Budget) -> int:
        """Bytes that the budget lacks; 0 if the need fits."""
        return max(self.host - budget.host, 0) + max(self.device - budget.device, 0)


def need(parts: PartBytes, layers: Layers, n_gpu_layers: int, num_devices: int = 1) -> Need:
    """What a model takes with `n_gpu_layers` on the devices; `parts` is what it takes without."""
    moved = layers.on_device(n_gpu_layers).stored
    on_blocks = max(min(n_gpu_layers - 1, len(layers.blocks)), 0) if n_gpu_layers else 0
    share = on_blocks / len(layers.blocks) if layers.blocks else 0.0
    cells = round((parts.kv + parts.state + parts.adapters) * share)
    if n_gpu_layers <= 0:
        return Need(parts.total, 0, 0)
    tied = layers.output.read - layers.output.stored  # a copy of the embedding
    device = moved + round(max(tied, 0)) + cells + parts.compute * num_devices
    is_whole = n_gpu_layers >= layers.count
    compute = 0 if is_whole else parts.compute
    host = parts.total - parts.compute - moved - cells + compute
    return Need(max(host, 0), device, min(n_gpu_layers, layers.count))


def best_placement(
    parts: PartBytes, layers: Layers, budget: Budget, n_gpu_layers: int | None = None
) -> Need:
    """The most layers on the devices that the budget allows, or so many as are given.

    If nothing fits, what lacks least.
    """
    num_devices = len(budget.devices)
    if not num_devices:
        return need(parts, layers, 0)
    if n_gpu_layers is not None:
        return need(parts, layers, min(n_gpu_layers, layers.count), num_devices)
    needs = [need(parts, layers, n, num_devices) for n in range(layers.count, -1, -1)]
    return min(needs, key=lambda one: one.lacks(budget))
