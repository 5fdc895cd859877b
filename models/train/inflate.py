"""Writes a larger GGUF that computes the same function: `python models/train/inflate.py`.

The output appends layers whose output projections (`attn_output`, `ffn_down`) are zero. Such a
layer adds nothing to the residual stream. But its attention and its wide feed-forward block cost as
much as in a trained model. So a benchmark gets a target of any size. The answers of the target, and
its agreement with the draft, are those of the small model.

The residual stream keeps the original's width, so the size has to come from wide feed-forward
blocks. llama.cpp requires one feed-forward length for all layers of the architecture `llama`. So
the original blocks are padded with zeros to the new length, which doesn't change their function
either.

    embedding -> original layers, padded -> appended layers (+ 0 each) -> norm -> logits

    ffn_gate, ffn_up   original rows | zero rows        [length, embedding]
    ffn_down           original columns | zero columns  [embedding, length]

Only NumPy and gguf are needed. For a K-quant, write F16 or F32 and pass the file to
`llama_cpp.llama_model_quantize`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import (
    GGMLQuantizationType,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    LlamaFileType,
)
from gguf.gguf_reader import ReaderField, ReaderTensor
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

FILE_TYPES = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
# The size of a K-quant's block, so that every matrix can be quantized.
WIDTH_STEP = 256
# Random weights have a size that keeps activations near 1, where quantization is accurate.
WEIGHT_SCALE = 0.02
REPLACED = frozenset(
    (
        "general.architecture",
        "general.file_type",
        "llama.block_count",
        "llama.feed_forward_length",
    )
)

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The dimensions that determine a layer's size."""

    embedding: int
    heads: int
    kv_heads: int
    layers: int
    feed_forward: int

    def layer_parameters(self, width: int) -> int:
        """Number of weights of one layer with the feed-forward length `width`."""
        kv = self.embedding // self.heads * self.kv_heads
        attention = 2 * self.embedding * (self.embedding + kv)
        return attention + 3 * self.embedding * width + 2 * self.embedding

    def width_for(self, parameters: int, layers: int) -> int:
        """The feed-forward length at which `layers` layers have about `parameters` weights."""
        each = parameters / layers - self.layer_parameters(0)
        steps = round(each / (3 * self.embedding) / WIDTH_STEP)
        return max(self.feed_forward, steps * WIDTH_STEP)


def read_shape(reader: GGUFReader) -> Shape:
    """The dimensions of the model in `reader`."""

    def number(key: str) -> int:
        field = reader.get_field(f"llama.{key}")
        if field is None:
            raise SystemExit(f"llama.{key} is missing: only models of the architecture llama work")
        return int(field.contents())

    return Shape(
        embedding=number("embedding_length"),
        heads=number("attention.head_count"),
        kv_heads=number("attention.head_count_kv"),
        layers=number("block_count"),
        feed_forward=number("feed_forward_length"),
    )


def copy_field(writer: GGUFWriter, field: ReaderField) -> None:
    """Copy one metadata entry unchanged."""
    kind = field.types[0]
    element = field.types[-1] if kind is GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), kind, element)


def copy_header(
    writer: GGUFWriter, reader: GGUFReader, layers: int, width: int, file_type: LlamaFileType
) -> None:
    """Copy all metadata except what the new layers change."""
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in REPLACED:
            copy_field(writer, field)
    writer.add_file_type(file_type)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width)


def add_matrix(writer: GGUFWriter, name: str, values: Weights, kind: GGMLQuantizationType) -> None:
    """Write a matrix in the output's type; vectors stay F32."""
    if values.ndim == 1 or kind is GGMLQuantizationType.F32:
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)


def padded(name: str, values: Weights, width: int) -> Weights:
    """A feed-forward matrix, padded with zeros to `width`; any other tensor is unchanged."""
    if ".ffn_gate." in name or ".ffn_up." in name:
        return np.pad(values, ((0, width - values.shape[0]), (0, 0)))
    if ".ffn_down." in name:
        return np.pad(values, ((0, 0), (0, width - values.shape[1])))
    return values


def copy_tensor(
    writer: GGUFWriter, tensor: ReaderTensor, width: int, kind: GGMLQuantizationType
) -> None:
    """Write an original tensor; a tensor that keeps type and shape is copied bit for bit."""
    if tensor.tensor_type == kind and ".ffn_" not in tensor.name:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=kind)
        return
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    add_matrix(writer, tensor.name, padded(tensor.name, values, width), kind)


def add_layer(
    writer: GGUFWriter,
    place: int,
    shape: Shape,
    width: int,
    kind: GGMLQuantizationType,
    random: np.random.Generator,
) -> None:
    """Append layer `place`: random weights, and zeros in the matrices that write to the
    residual."""
    size, kv = shape.embedding, shape.embedding // shape.heads * shape.kv_heads

    def noise(rows: int, columns: int) -> Weights:
        return random.standard_normal((rows, columns), np.float32) * np.float32(WEIGHT_SCALE)

    prefix = f"blk.{place}."
    matrices = {
        "attn_q": noise(size, size),
        "attn_k": noise(kv, size),
        "attn_v": noise(kv, size),
        "attn_output": np.zeros((size, size), np.float32),
        "ffn_gate": noise(width, size),
        "ffn_up": noise(width, size),
        "ffn_down": np.zeros((size, width), np.float32),
    }
    for name, values in matrices.items():
        add_matrix(writer, f"{prefix}{name}.weight", values, kind)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{prefix}{name}.weight", np.ones(size, np.float32))


def inflate(
    source: Path, output: Path, *, parameters: int, layers: int, kind: str, seed: int = 1
) -> int:
    """Write `source` with `layers` more layers and about `parameters` weights; return the exact
    number of weights."""
    reader = GGUFReader(source)
    shape = read_shape(reader)
    total = shape.layers + layers
    outside = sum(int(tensor.n_elements) for tensor in reader.tensors if "blk." not in tensor.name)
    width = shape.width_for(parameters - outside, total)
    quantization, file_type = FILE_TYPES[kind]
    writer = GGUFWriter(output, "llama", use_temp_file=True)
    copy_header(writer, reader, total, width, file_type)
    for tensor in reader.tensors:
        copy_tensor(writer, tensor, width, quantization)
    random = np.random.default_rng(seed)
    for place in range(shape.layers, total):
        add_layer(writer, place, shape, width, quantization, random)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return outside + total * shape.layer_parameters(width)


def main() -> None:
    """Inflate one GGUF."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--parameters", type=float, default=300e6, help="e.g. 300e6")
    parser.add_argument("--layers", type=int, default=20, help="how many layers to append")
    parser.add_argument("--type", choices=FILE_TYPES, default="F16")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    count = inflate(
        args.input,
        args.output,
        parameters=int(args.parameters),
        layers=args.layers,
        kind=args.type,
        seed=args.seed,
    )
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {count / 1e6:.1f}M parameters, {size:.0f} MB, {args.type}")


if __name__ == "__main__":
    main()
