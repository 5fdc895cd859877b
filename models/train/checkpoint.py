"""Reads and writes checkpoints, and reads GGUFs from which a training can start."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from models.train.gguf_weights import gguf_name, read_gguf
from models.train.model import Llama, ModelConfig


def save(model: Llama, path: Path, step: int) -> None:
    """Write weights and configuration; the new file replaces the old one in one move."""
    partial = path.with_suffix(".tmp")
    torch.save(
        {"config": asdict(model.config), "weights": model.state_dict(), "step": step}, partial
    )
    partial.replace(path)


def load(path: Path) -> tuple[Llama, int]:
    """The model and the step of a checkpoint; for a GGUF of ours, its model and step 0.

    Raises ValueError for a GGUF with another layout, for example with a separate output matrix.
    """
    if path.suffix == ".gguf":
        return _from_gguf(path), 0
    saved = torch.load(path, weights_only=True)
    model = Llama(ModelConfig(**saved["config"]))
    model.load_state_dict(saved["weights"])
    return model, int(saved["step"])


def _from_gguf(path: Path) -> Llama:
    config, weights = read_gguf(path)
    model = Llama(ModelConfig(**config))
    wanted = {gguf_name(name): parameter for name, parameter in model.named_parameters()}
    if odd := sorted(wanted.keys() ^ weights.keys()):
        raise ValueError(f"{path}: not a GGUF to train from: missing or unknown is {odd[0]}")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(torch.from_numpy(weights[name]))
    return model
