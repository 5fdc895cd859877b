"""Where a model's weights lie: bytes of each layer, and how many of them one token reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from server.model.gguf_header import GgufHeader

_LAYER = re.compile(r"blk\.(\d+)\.")
_EXPERT = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch)?exps")
_EMBEDDING = "token_embd.weight"
_OUTPUT = re.compile(r"output(_norm)?\.|token_embd_norm\.")

_MOST_LAYERS = 4096
"""More than any model has: a file may claim any number."""


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """The weights of one layer."""

    stored: int = 0
    read: float = 0.0
    """What one token reads of them: of experts those that are asked."""

    def __add__(self, other: LayerBytes) -> LayerBytes:
        return LayerBytes(self.stored + other.stored, self.read + other.read)

    def times(self, factor: float) -> LayerBytes:
        """The same layer with weights of other sizes."""
        return LayerBytes(round(self.stored * factor), self.read * factor)


@dataclass(frozen=True, slots=True)
class Layers:
    """A model's weights from its beginning to its end."""

    inputs: LayerBytes
    """They always stay in the host's memory."""
    blocks: tuple[LayerBytes, ...]
    output: LayerBytes

    @property
    def count(self) -> int:
        """The layers that `--n-gpu-layers` counts: the output is the last one."""
        return len(self.blocks) + 1

    @property
    def stored(self) -> int:
        """All weights."""
        return self._all.stored

    @property
    def read(self) -> float:
        """Bytes that one token reads."""
        return self._all.read

    @property
    def _all(self) -> LayerBytes:
        return sum(self.blocks, self.inputs + self.output)

    def on_device(self, n_gpu_layers: int) -> LayerBytes:
        """The weights that so many layers take along: the output goes first, then the last ones."""
        if n_gpu_layers <= 0:
            return LayerBytes()
        first = max(len(self.blocks) - (n_gpu_layers - 1), 0)
        return sum(self.blocks[first:], self.output)

    def times(self, factor: float) -> Layers:
        """The same model in another quantization."""
        blocks = tuple(block.times(factor) for block in self.blocks)
        return Layers(self.inputs.times(factor), blocks, self.output.times(factor))


def layers_of(header: GgufHeader, sizes: Mapping[str, int]) -> Layers:
    """The layers of a model with this header; `sizes` are bytes by the name of a tensor."""
    architecture = header.text("general.architecture")
    count = min(max(header.number(f"{architecture}.block_count"), 0), _MOST_LAYERS)
    share = _share_of_experts(header, architecture)
    blocks = [LayerBytes()] * count
    inputs = output = LayerBytes()
    for name, size in sizes.items():
        found = _LAYER.match(name)
        if found and int(found[1]) < count:
            read = size * share if _EXPERT.search(name) else size
            blocks[int(found[1])] += LayerBytes(size, read)
        elif _OUTPUT.match(name):
            output += LayerBytes(size, size)
        else:  # of the embedding one row is read
            inputs += LayerBytes(size, 0.0 if name == _EMBEDDING else size)
    if "output.weight" not in sizes and _EMBEDDING in sizes:
        # The embedding is the output too; a device gets a copy of it.
        output += LayerBytes(0, sizes[_EMBEDDING])
    return Layers(inputs, tuple(blocks), output)


def _share_of_experts(header: GgufHeader, architecture: str) -> float:
    """The share of the experts that one token asks."""
    count = header.number(f"{architecture}.expert_count")
    used = header.number(f"{architecture}.expert_used_count")
    return used / count if 0 < used < count else 1.0
