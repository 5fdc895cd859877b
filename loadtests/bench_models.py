"""Makes models for measurements in seconds: random weights of a real shape, and a real tokenizer.

    python -m loadtests.bench_models [NAME ...]

prints the path of each model, and makes the model if the cache doesn't have it. The speed of a
model depends on its shape, its types and its vocabulary, and hardly on its weights. The weights
follow from the shape's name alone, so every machine measures the same model.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loadtests.bench_vocab import Entry, ensure_vocab, read_tokenizer
from loadtests.harness.prompts import seed_of
from loadtests.inflated import NAME, ensure_inflated
from loadtests.vocabulary import quiet_llama_cpp

if TYPE_CHECKING:
    import numpy.typing as npt
    from gguf import GGUFWriter

    F32 = npt.NDArray[np.float32]

RECIPE = 1
"""Version of the files. Increase it when the files change, so that old files in a cache are not
used."""

CHUNK = 1 << 22
"""Number of weights that are drawn at once: 16 MiB of float32."""

TYPES = {"f16": 1, "q8_0": 7, "q4_0": 2, "q4_k_m": 15}
"""llama.cpp's numbers of the file types (`llama_ftype`)."""

TEXT, BYTE_LEVEL = 1, "gpt2"
"""The token type of plain text; the tokenizer whose tokens spell bytes as printable characters."""

CHAT_TEMPLATE = (
    "{% for message in messages %}### {{ message['role'] }}\n{{ message['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}### assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """A transformer's dimensions; input and output embeddings are one tensor."""

    name: str
    arch: str
    vocab: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    context: int
    rope_base: float
    biases: bool = False

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("bench-100m", "llama", "llama-spm", 12, 768, 2048, 12, 4, 8192, 1e4),
        Shape("bench-0.5b-qwen2", "qwen2", "qwen2", 24, 896, 4864, 14, 2, 32768, 1e6, biases=True),
    )
}
MODELS = tuple(
    f"{name}-{kind}" for name in (*SHAPES, NAME) for kind in ("q8_0", "f16", "q4_0", "q4_k_m")
)


@dataclass(frozen=True)
class Tensor:
    """A weight: rows by columns (0 rows means a vector), and the standard deviation of its
    numbers."""

    name: str
    rows: int
    columns: int
    deviation: float
    mean: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns) if self.rows else (self.columns,)

    @property
    def size(self) -> int:
        return max(self.rows, 1) * self.columns

    @property
    def dtype(self) -> type[np.float16] | type[np.float32]:
        """Vectors stay in full precision, as llama.cpp expects of norms and biases."""
        return np.float16 if self.rows else np.float32

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


def cache_folder() -> Path:
    """The folder of bench models: `llamapack/bench` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llamapack" / "bench"


def ensure_model(name: str, cache: Path | None = None) -> Path:
    """The path of the bench model `name`; makes the model if the cache doesn't have it."""
    shape, kind = _parse(name)
    folder = cache or cache_folder()
    if shape is None:
        return ensure_inflated(kind, folder, quantize)
    path = folder / f"{name}-r{RECIPE}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = read_tokenizer(ensure_vocab(shape.vocab, folder, _say))
        _make(shape, kind, tokenizer, path)
    return path


def _parse(name: str) -> tuple[Shape | None, str]:
    """The shape (None for the inflated demo model) and the type."""
    if name not in MODELS:
        raise ValueError(f"no model {name!r}: give a .gguf file or one of {', '.join(MODELS)}")
    shape, _, kind = name.rpartition("-")
    return SHAPES.get(shape), kind


def _make(shape: Shape, kind: str, tokenizer: list[Entry], path: Path) -> None:
    """Write the model to `path`, completely or not at all."""
    halves = path.with_suffix(".f16.part")
    result = path.with_suffix(".part")
    try:
        write_f16(shape, tokenizer, halves)
        if kind == "f16":
            halves.rename(result)
        else:
            _say(f"quantizing to {kind} ...")
            quantize(halves, result, kind)
        result.rename(path)
    finally:
        halves.unlink(missing_ok=True)
        result.unlink(missing_ok=True)
    _say(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


def write_f16(shape: Shape, tokenizer: list[Entry], path: Path) -> None:
    """Write the shape with random weights, matrices as float16."""
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, shape.arch)
    _write_header(writer, shape, tokenizer)
    silent = unspeakable_tokens(tokenizer)
    weights = tensors(shape, _vocab_size(tokenizer))
    total = sum(tensor.size for tensor in weights)
    for tensor in weights:
        raw = GGMLQuantizationType.F16 if tensor.rows else GGMLQuantizationType.F32
        dtype = np.dtype(tensor.dtype)
        writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.nbytes, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    _say(f"drawing {total / 1e6:.0f}M random weights for {shape.name} ...")
    done = 0
    for tensor in weights:
        writer.write_tensor_data(_draw(shape, tensor, silent))
        done += tensor.size
        _show(f"\r{100 * done / total:3.0f}%")
    writer.close()
    _show("\n")


def _write_header(writer: GGUFWriter, shape: Shape, tokenizer: list[Entry]) -> None:
    from gguf import GGUFValueType

    writer.add_name(f"{shape.name}, random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_file_type(TYPES["f16"])
    for entry in tokenizer:
        element = GGUFValueType[entry.element_kind] if entry.element_kind else None
        writer.add_key_value(entry.key, entry.value, GGUFValueType[entry.kind], element)
    if all(entry.key != "tokenizer.chat_template" for entry in tokenizer):
        writer.add_chat_template(CHAT_TEMPLATE)


def tensors(shape: Shape, vocab: int) -> list[Tensor]:
    """Every weight of the shape, scaled so that activations and logits stay of order one.

    The embeddings are small compared with what the layers add to them. The output tensor is the
    same as the embeddings, so otherwise a model would repeat the token it was given.
    """
    norm = Tensor("", 0, shape.width, 0.0, mean=1.0)
    found = [Tensor("token_embd.weight", vocab, shape.width, shape.width**-0.5)]
    for layer in range(shape.layers):
        found += _layer(shape, f"blk.{layer}.", norm)
    return [*found, replace(norm, name="output_norm.weight")]


def _layer(shape: Shape, prefix: str, norm: Tensor) -> Iterator[Tensor]:
    def matrix(name: str, rows: int, columns: int) -> Tensor:
        return Tensor(f"{prefix}{name}.weight", rows, columns, columns**-0.5)

    width, kv_width, inner = shape.width, shape.kv_width, shape.feed_forward
    yield replace(norm, name=f"{prefix}attn_norm.weight")
    for name, rows in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
        yield matrix(name, rows, width)
        if shape.biases:
            yield Tensor(f"{prefix}{name}.bias", 0, rows, 0.1)
    yield matrix("attn_output", width, width)
    yield replace(norm, name=f"{prefix}ffn_norm.weight")
    yield matrix("ffn_gate", inner, width)
    yield matrix("ffn_up", inner, width)
    yield matrix("ffn_down", width, inner)


def _draw(shape: Shape, tensor: Tensor, silent: Sequence[int]) -> npt.NDArray[np.generic]:
    """The tensor's numbers, the same on every machine; the rows of `silent` tokens are zero.

    A zero row gives a logit of zero, far below the greatest of thousands. So the token is never
    sampled, but it costs as much work as any other row.
    """
    random = np.random.default_rng(seed_of(shape.name, tensor.name))
    flat = np.empty(tensor.size, dtype=tensor.dtype)
    for begin in range(0, tensor.size, CHUNK):
        end = min(begin + CHUNK, tensor.size)
        chunk: F32 = random.standard_normal(end - begin, dtype=np.float32)
        flat[begin:end] = chunk * np.float32(tensor.deviation) + np.float32(tensor.mean)
    values = flat.reshape(tensor.shape)
    if tensor.name == "token_embd.weight":
        values[list(silent)] = 0
    return values


def unspeakable_tokens(tokenizer: list[Entry]) -> list[int]:
    """Tokens that random text should not contain: control tokens and incomplete characters.

    A server holds back half a character until the rest comes. Text full of incomplete characters
    would distort the measured time between tokens.
    """
    entries = {entry.key: entry.value for entry in tokenizer}
    kinds: Sequence[int] = entries["tokenizer.ggml.token_type"]
    texts: Sequence[str] = entries["tokenizer.ggml.tokens"]
    spells_bytes = entries["tokenizer.ggml.model"] == BYTE_LEVEL
    return [
        token
        for token, (kind, text) in enumerate(zip(kinds, texts, strict=True))
        if kind != TEXT or (spells_bytes and not _is_whole(text))
    ]


def _is_whole(text: str) -> bool:
    """Whether the bytes that a byte-level token spells are whole characters."""
    try:
        bytes(_BYTES[character] for character in text).decode()
    except (KeyError, UnicodeDecodeError):
        return False
    return True


def _byte_alphabet() -> dict[str, int]:
    """The byte of each character of a byte-level vocabulary.

    A byte that is a visible Latin-1 character stands for itself. The other bytes take, in order,
    the characters from 256 upwards.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    alphabet = {chr(byte): byte for byte in visible}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(hidden)}


_BYTES = _byte_alphabet()


def _vocab_size(tokenizer: list[Entry]) -> int:
    return next(len(e.value) for e in tokenizer if e.key == "tokenizer.ggml.tokens")


def quantize(source: Path, target: Path, kind: str) -> None:
    """Convert with llama.cpp's own quantizer."""
    llama_cpp = quiet_llama_cpp()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = TYPES[kind]
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status:
        raise ValueError(f"llama.cpp cannot quantize {source} to {kind} (status {status})")


def _show(text: str) -> None:
    """Show progress within a line, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench_models", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    names: list[str] = parser.parse_args(arguments).names or [MODELS[0]]
    try:
        for name in names:
            print(ensure_model(name))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
