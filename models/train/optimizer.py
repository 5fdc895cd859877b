"""Optimizers: Muon for the blocks' matrices, AdamW for the embedding and the norms.

Muon (Keller Jordan, 2024) replaces the momentum of a matrix by its nearest semi-orthogonal matrix.
A Newton-Schulz iteration finds that matrix. So every direction learns at the same pace.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from models.train.model import Llama

# Coefficients of Jordan's quintic, tuned for a steep slope at zero.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(stack: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to the matrices [N, rows, columns]."""
    wide = stack.shape[-2] <= stack.shape[-1]
    x = (stack if wide else stack.mT).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x if wide else x.mT).to(stack.dtype)


class Muon:
    """Nesterov momentum, orthogonalised; matrices of the same shape form one batch."""

    def __init__(self, weights: list[Tensor], momentum: float = 0.95, decay: float = 0.01) -> None:
        self.momentum = momentum
        self.decay = decay
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for weight in weights:
            by_shape[weight.shape].append(weight)
        self.groups = list(by_shape.values())
        self.buffers = [
            torch.zeros(len(group), *group[0].shape, device=group[0].device)
            for group in self.groups
        ]

    def step(self, rate: float) -> None:
        """One update with learning rate `rate`."""
        with torch.no_grad():
            self._step(rate)

    def _step(self, rate: float) -> None:
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradient = torch.stack([weight.grad for weight in group if weight.grad is not None])
            buffer.lerp_(gradient, 1 - self.momentum)
            update = orthogonalise(gradient.lerp(buffer, self.momentum))
            scale = rate * max(1.0, group[0].shape[0] / group[0].shape[1]) ** 0.5
            for weight, change in zip(group, update, strict=True):
                weight.mul_(1 - rate * self.decay).sub_(scale * change)


class Optimizer:
    """Both optimizers behind one step; `rate` is a share of each optimizer's peak rate."""

    def __init__(self, model: Llama, muon_peak: float, adam_peak: float) -> None:
        blocks = list(model.blocks.parameters())
        others = [weight for weight in blocks if weight.ndim < 2]
        others += [model.embed.weight, model.output_norm]
        self.muon_peak, self.adam_peak = muon_peak, adam_peak
        self.muon = Muon([weight for weight in blocks if weight.ndim == 2])
        self.adam = torch.optim.AdamW(others, lr=adam_peak, betas=(0.9, 0.95), weight_decay=0.0)

    def step(self, rate: float) -> None:
        """Update all weights and clear their gradients."""
        self.muon.step(rate * self.muon_peak)
        for group in self.adam.param_groups:
            group["lr"] = rate * self.adam_peak
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for weights in self.muon.groups:
            for weight in weights:
                weight.grad = None
