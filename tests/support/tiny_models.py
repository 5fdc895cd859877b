"""Random models of a few hundred kilobytes, with architectures whose memory is no plain cache.

The texts make no sense, but they are the same every time. Each token depends on all tokens before
it that the memory holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

N_VOCAB = 288
N_EMBD = 64
N_FF = 96
N_LAYERS = 2
N_HEADS = 4
HEAD = N_EMBD // N_HEADS
WIDE_HEAD = 32
"""The smallest head whose cells can be quantized."""

N_CTX_TRAIN = 2048
WINDOW = 32
"""Number of tokens that a sliding window sees."""

D_INNER = 2 * N_EMBD
D_STATE = 16
D_CONV = 4
DT_RANK = 8


@dataclass(frozen=True)
class Vocabulary:
    """Tokens besides `<unk>`, `<s>` and `</s>`, filled up with words without meaning."""

    bytes: Sequence[int] = range(256)
    words: Sequence[str] = ()
    model: str = "llama"
    space_prefix: bool = True

    def write(self, writer: gguf.GGUFWriter) -> None:
        words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in self.bytes), *self.words]
        kinds = [2, 3, 3] + [6] * len(self.bytes) + [1] * (N_VOCAB - 3 - len(self.bytes))
        words += [f"w{index}" for index in range(N_VOCAB - len(words))]
        writer.add_tokenizer_model(self.model)
        writer.add_token_list(words)
        writer.add_token_scores([0.0] * N_VOCAB)
        writer.add_token_types(kinds)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(self.space_prefix)


BYTES = Vocabulary()


class _Writer:
    """A GGUF file that is being written; weights are random and depend only on the seed."""

    def __init__(
        self,
        path: Path,
        arch: str,
        n_layers: int = N_LAYERS,
        vocabulary: Vocabulary = BYTES,
        *,
        split: int = 0,
    ) -> None:
        self.gguf = gguf.GGUFWriter(str(path), arch, split_max_tensors=split)
        self.gguf.add_block_count(n_layers)
        self._random = np.random.default_rng(7)
        self._write_metadata()
        vocabulary.write(self.gguf)

    def weight(self, name: str, *shape: int, scale: float = 1.0, bias: float = 0.0) -> None:
        """Add a matrix in GGUF's order of dimensions, or a vector, with values around `bias`."""
        values = self._random.normal(bias, scale / np.sqrt(shape[0]), size=shape[::-1])
        self.gguf.add_tensor(name, values.astype(np.float32))

    def ones(self, name: str, size: int) -> None:
        """Add the factors of a norm."""
        self.gguf.add_tensor(name, np.ones(size, dtype=np.float32))

    def norm(self, name: str) -> None:
        """Add a norm with factors and terms."""
        self.weight(f"{name}.weight", N_EMBD, scale=0.1, bias=1.0)
        self.weight(f"{name}.bias", N_EMBD, scale=0.1)

    def finish(self, *, output_norm: str = "output_norm") -> None:
        """Add the output tensors and write the file."""
        if output_norm:
            self.ones(f"{output_norm}.weight", N_EMBD)
        self.weight("token_embd.weight", N_EMBD, N_VOCAB, scale=0.5)
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()

    def _write_metadata(self) -> None:
        self.gguf.add_context_length(N_CTX_TRAIN)
        self.gguf.add_embedding_length(N_EMBD)
        self.gguf.add_feed_forward_length(N_FF)
        self.gguf.add_layer_norm_rms_eps(1e-5)


def _attention(writer: _Writer, layer: int) -> None:
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.weight(f"blk.{layer}.{name}.weight", N_EMBD, N_EMBD, scale=2.0)


def _feed_forward(writer: _Writer, layer: int) -> None:
    writer.ones(f"blk.{layer}.ffn_norm.weight", N_EMBD)
    writer.weight(f"blk.{layer}.ffn_gate.weight", N_EMBD, N_FF)
    writer.weight(f"blk.{layer}.ffn_up.weight", N_EMBD, N_FF)
    writer.weight(f"blk.{layer}.ffn_down.weight", N_FF, N_EMBD)


def _state_space(writer: _Writer, layer: int, *, norms: bool) -> None:
    prefix = f"blk.{layer}"
    writer.weight(f"{prefix}.ssm_in.weight", N_EMBD, 2 * D_INNER)
    writer.weight(f"{prefix}.ssm_conv1d.weight", D_CONV, D_INNER)
    writer.weight(f"{prefix}.ssm_conv1d.bias", D_INNER)
    writer.weight(f"{prefix}.ssm_x.weight", D_INNER, DT_RANK + 2 * D_STATE)
    writer.weight(f"{prefix}.ssm_dt.weight", DT_RANK, D_INNER)
    writer.weight(f"{prefix}.ssm_dt.bias", D_INNER)
    writer.weight(f"{prefix}.ssm_a", D_STATE, D_INNER, scale=0.05, bias=-0.1)
    writer.ones(f"{prefix}.ssm_d", D_INNER)
    writer.weight(f"{prefix}.ssm_out.weight", D_INNER, N_EMBD, scale=2.0)
    if norms:
        for name, size in (("dt", DT_RANK), ("b", D_STATE), ("c", D_STATE)):
            writer.ones(f"{prefix}.ssm_{name}_norm.weight", size)


def _state_space_sizes(writer: _Writer) -> None:
    writer.gguf.add_ssm_conv_kernel(D_CONV)
    writer.gguf.add_ssm_inner_size(D_INNER)
    writer.gguf.add_ssm_state_size(D_STATE)
    writer.gguf.add_ssm_time_step_rank(DT_RANK)


def sliding(path: Path) -> None:
    """Write a Gemma 2 model: every other layer sees only the latest tokens."""
    writer = _Writer(path, "gemma2")
    writer.gguf.add_head_count(N_HEADS)
    writer.gguf.add_head_count_kv(N_HEADS)
    writer.gguf.add_key_length(HEAD)
    writer.gguf.add_value_length(HEAD)
    writer.gguf.add_sliding_window(WINDOW)
    writer.gguf.add_attn_logit_softcapping(50.0)
    writer.gguf.add_final_logit_softcapping(30.0)
    for layer in range(N_LAYERS):
        writer.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        _attention(writer, layer)
        _feed_forward(writer, layer)
        for name in ("post_attention_norm", "post_ffw_norm"):
            writer.ones(f"blk.{layer}.{name}.weight", N_EMBD)
    writer.finish()


def single_layer(
    path: Path, head: int = N_EMBD, vocabulary: Vocabulary = BYTES, *, split: int = 0
) -> None:
    """Write a Llama model with one layer: a cell depends only on its own token and position.

    With `split`, files have at most so many tensors, and llama.cpp's names of parts.
    """
    writer = _Writer(path, "llama", 1, vocabulary, split=split)
    writer.gguf.add_head_count(N_EMBD // head)
    writer.gguf.add_head_count_kv(N_EMBD // head)
    writer.gguf.add_rope_dimension_count(head)
    writer.ones("blk.0.attn_norm.weight", N_EMBD)
    _attention(writer, 0)
    _feed_forward(writer, 0)
    writer.finish()


def recurrent(path: Path) -> None:
    """Write a Mamba model: one state for all tokens so far."""
    writer = _Writer(path, "mamba")
    writer.gguf.add_head_count(0)
    _state_space_sizes(writer)
    for layer in range(N_LAYERS):
        writer.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        _state_space(writer, layer, norms=False)
    writer.finish()


def hybrid(path: Path) -> None:
    """Write a Jamba model: a layer with a state, and a layer with attention."""
    writer = _Writer(path, "jamba")
    writer.gguf.add_head_count(N_HEADS)
    writer.gguf.add_head_count_kv([0, N_HEADS])
    _state_space_sizes(writer)
    for layer in range(N_LAYERS):
        writer.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        if layer == 0:
            _state_space(writer, layer, norms=True)
        else:
            _attention(writer, layer)
        _feed_forward(writer, layer)
    writer.finish()


def gemma3(path: Path) -> None:
    """Write a Gemma 3 model: five layers of six see only the latest tokens."""
    writer = _Writer(path, "gemma3", n_layers=6)
    writer.gguf.add_head_count(N_EMBD // WIDE_HEAD)
    writer.gguf.add_head_count_kv(N_EMBD // WIDE_HEAD)
    writer.gguf.add_key_length(WIDE_HEAD)
    writer.gguf.add_value_length(WIDE_HEAD)
    writer.gguf.add_sliding_window(WINDOW)
    for layer in range(6):
        _attention(writer, layer)
        _feed_forward(writer, layer)
        for name in ("attn_norm", "post_attention_norm", "post_ffw_norm"):
            writer.ones(f"blk.{layer}.{name}.weight", N_EMBD)
        for name in ("attn_q_norm", "attn_k_norm"):
            writer.ones(f"blk.{layer}.{name}.weight", WIDE_HEAD)
    writer.finish()


def gemma3n(path: Path) -> None:
    """Write a Gemma 3n model: four layers of five see only the latest tokens, several streams of
    activations, and embeddings of their own for each layer."""
    n_layers = 6
    streams, rank, narrow = 4, 64, 256  # llama.cpp knows no others
    writer = _Writer(path, "gemma3n", n_layers=n_layers)
    writer.gguf.add_head_count(N_EMBD // WIDE_HEAD)
    writer.gguf.add_head_count_kv(N_EMBD // WIDE_HEAD)
    writer.gguf.add_key_length(WIDE_HEAD)
    writer.gguf.add_value_length(WIDE_HEAD)
    writer.gguf.add_sliding_window(WINDOW)
    writer.weight("altup_proj.weight", N_EMBD, N_EMBD, streams - 1)
    writer.weight("altup_unembd_proj.weight", N_EMBD, N_EMBD, streams - 1)
    writer.weight("per_layer_token_embd.weight", narrow * n_layers, N_VOCAB, scale=4.0)
    writer.weight("per_layer_model_proj.weight", N_EMBD, narrow * n_layers)
    writer.ones("per_layer_proj_norm.weight", narrow)
    for layer in range(n_layers):
        prefix = f"blk.{layer}"
        _attention(writer, layer)
        _feed_forward(writer, layer)
        norms = ("attn", "post_attention", "post_ffw", "post", "laurel_post", "altup_router")
        for name in norms:
            writer.ones(f"{prefix}.{name}_norm.weight", N_EMBD)
        for name in ("attn_q_norm", "attn_k_norm"):
            writer.ones(f"{prefix}.{name}.weight", WIDE_HEAD)
        writer.weight(f"{prefix}.inp_gate.weight", N_EMBD, narrow)
        writer.weight(f"{prefix}.proj.weight", narrow, N_EMBD)
        writer.weight(f"{prefix}.altup_correct_coef.weight", streams, streams)
        writer.ones(f"{prefix}.altup_correct_scale.weight", N_EMBD)
        writer.weight(f"{prefix}.altup_predict_coef.weight", streams, streams * streams)
        writer.weight(f"{prefix}.altup_router.weight", N_EMBD, streams)
        writer.weight(f"{prefix}.laurel_l.weight", N_EMBD, rank)
        writer.weight(f"{prefix}.laurel_r.weight", rank, N_EMBD)
    writer.finish()


def _state_heads(writer: _Writer, layer: int) -> None:
    prefix, width = f"blk.{layer}", D_INNER + 2 * D_STATE
    writer.weight(f"{prefix}.ssm_in.weight", N_EMBD, D_INNER + width + DT_RANK)
    writer.weight(f"{prefix}.ssm_conv1d.weight", D_CONV, width)
    writer.weight(f"{prefix}.ssm_conv1d.bias", width)
    writer.weight(f"{prefix}.ssm_dt.bias", DT_RANK)
    writer.weight(f"{prefix}.ssm_a", 1, DT_RANK, scale=0.05, bias=-0.1)
    writer.weight(f"{prefix}.ssm_d", 1, DT_RANK)
    writer.weight(f"{prefix}.ssm_norm.weight", D_INNER, 1, scale=0.1, bias=1.0)
    writer.weight(f"{prefix}.ssm_out.weight", D_INNER, N_EMBD, scale=2.0)


def mamba2(path: Path) -> None:
    """Write a Mamba 2 model: one state for all tokens so far, with heads."""
    writer = _Writer(path, "mamba2")
    writer.gguf.add_head_count(0)
    _state_space_sizes(writer)
    writer.gguf.add_ssm_group_count(1)
    for layer in range(N_LAYERS):
        writer.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        _state_heads(writer, layer)
    writer.finish()


def granite(path: Path) -> None:
    """Write a Granite 4 model: a layer with a state, and a layer with attention."""
    writer = _Writer(path, "granitehybrid")
    writer.gguf.add_head_count(N_EMBD // WIDE_HEAD)
    writer.gguf.add_head_count_kv([0, N_EMBD // WIDE_HEAD])
    _state_space_sizes(writer)
    writer.gguf.add_ssm_group_count(1)
    for layer in range(N_LAYERS):
        writer.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        if layer == 0:
            _state_heads(writer, layer)
        else:
            _attention(writer, layer)
        _feed_forward(writer, layer)
    writer.finish()


def gpt_oss(path: Path) -> None:
    """Write a gpt-oss model: every other layer sees only the latest tokens; experts."""
    writer = _Writer(path, "gpt-oss")
    heads, experts = N_EMBD // WIDE_HEAD, 4
    writer.gguf.add_head_count(heads)
    writer.gguf.add_head_count_kv(heads)
    writer.gguf.add_key_length(WIDE_HEAD)
    writer.gguf.add_value_length(WIDE_HEAD)
    writer.gguf.add_sliding_window(WINDOW)
    writer.gguf.add_expert_count(experts)
    writer.gguf.add_expert_used_count(2)
    writer.gguf.add_expert_feed_forward_length(N_FF)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        for name in ("attn_norm", "post_attention_norm"):
            writer.ones(f"{prefix}.{name}.weight", N_EMBD)
        _attention(writer, layer)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.weight(f"{prefix}.{name}.bias", N_EMBD)
        writer.weight(f"{prefix}.attn_sinks.weight", heads)
        writer.weight(f"{prefix}.ffn_gate_inp.weight", N_EMBD, experts)
        writer.weight(f"{prefix}.ffn_gate_inp.bias", experts)
        for name, rows, columns in (
            ("gate", N_EMBD, N_FF),
            ("up", N_EMBD, N_FF),
            ("down", N_FF, N_EMBD),
        ):
            writer.weight(f"{prefix}.ffn_{name}_exps.weight", rows, columns, experts)
            writer.weight(f"{prefix}.ffn_{name}_exps.bias", columns, experts)
    writer.weight("output.weight", N_EMBD, N_VOCAB)
    writer.finish()


def qwen35(path: Path) -> None:
    """Write a Qwen 3.5 model: a layer with a gated delta net, and a layer with attention."""
    writer = _Writer(path, "qwen35")
    heads, key_heads, value_heads = N_EMBD // WIDE_HEAD, 2, 4
    keys, values = key_heads * D_STATE, value_heads * D_STATE
    writer.gguf.add_head_count(heads)
    writer.gguf.add_head_count_kv(heads)
    writer.gguf.add_key_length(WIDE_HEAD)
    writer.gguf.add_value_length(WIDE_HEAD)
    writer.gguf.add_rope_dimension_count(WIDE_HEAD)
    writer.gguf.add_rope_dimension_sections([8, 4, 4, 0])
    writer.gguf.add_full_attention_interval(2)
    writer.gguf.add_ssm_conv_kernel(D_CONV)
    writer.gguf.add_ssm_inner_size(values)
    writer.gguf.add_ssm_state_size(D_STATE)
    writer.gguf.add_ssm_time_step_rank(value_heads)
    writer.gguf.add_ssm_group_count(key_heads)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        for name in ("attn_norm", "post_attention_norm"):
            writer.ones(f"{prefix}.{name}.weight", N_EMBD)
        if layer == 0:
            writer.weight(f"{prefix}.attn_qkv.weight", N_EMBD, 2 * keys + values)
            writer.weight(f"{prefix}.attn_gate.weight", N_EMBD, values)
            writer.weight(f"{prefix}.ssm_conv1d.weight", D_CONV, 2 * keys + values)
            writer.weight(f"{prefix}.ssm_dt.bias", value_heads)
            writer.weight(f"{prefix}.ssm_a", value_heads, scale=0.05, bias=-0.1)
            writer.weight(f"{prefix}.ssm_beta.weight", N_EMBD, value_heads)
            writer.weight(f"{prefix}.ssm_alpha.weight", N_EMBD, value_heads)
            writer.ones(f"{prefix}.ssm_norm.weight", D_STATE)
            writer.weight(f"{prefix}.ssm_out.weight", values, N_EMBD, scale=2.0)
        else:
            writer.weight(f"{prefix}.attn_q.weight", N_EMBD, 2 * N_EMBD, scale=2.0)
            for name in ("attn_k", "attn_v", "attn_output"):
                writer.weight(f"{prefix}.{name}.weight", N_EMBD, N_EMBD, scale=2.0)
            for name in ("attn_q_norm", "attn_k_norm"):
                writer.ones(f"{prefix}.{name}.weight", WIDE_HEAD)
        writer.weight(f"{prefix}.ffn_gate.weight", N_EMBD, N_FF)
        writer.weight(f"{prefix}.ffn_up.weight", N_EMBD, N_FF)
        writer.weight(f"{prefix}.ffn_down.weight", N_FF, N_EMBD)
    writer.finish()


def lfm2(path: Path) -> None:
    """Write an LFM2 model: a layer with a short convolution, and a layer with attention."""
    writer = _Writer(path, "lfm2")
    writer.gguf.add_head_count(N_EMBD // WIDE_HEAD)
    writer.gguf.add_head_count_kv([0, N_EMBD // WIDE_HEAD])
    writer.gguf.add_shortconv_l_cache(D_CONV)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        writer.ones(f"{prefix}.attn_norm.weight", N_EMBD)
        if layer == 0:
            writer.weight(f"{prefix}.shortconv.conv.weight", D_CONV, N_EMBD)
            writer.weight(f"{prefix}.shortconv.in_proj.weight", N_EMBD, 3 * N_EMBD)
            writer.weight(f"{prefix}.shortconv.out_proj.weight", N_EMBD, N_EMBD, scale=2.0)
        else:
            _attention(writer, layer)
            for name in ("attn_q_norm", "attn_k_norm"):
                writer.ones(f"{prefix}.{name}.weight", WIDE_HEAD)
        _feed_forward(writer, layer)
    writer.finish(output_norm="token_embd_norm")


def encoder(path: Path, *, ranks: bool = False) -> None:
    """Write a BERT model: every token sees all others, and there is no next token. With a head it
    ranks."""
    writer = _Writer(path, "bert")
    writer.gguf.add_head_count(N_HEADS)
    writer.gguf.add_layer_norm_eps(1e-5)
    writer.gguf.add_causal_attention(False)
    kind = gguf.PoolingType
    writer.gguf.add_pooling_type(kind.RANK if ranks else kind.MEAN)
    writer.gguf.add_token_type_count(2)
    writer.weight("token_types.weight", N_EMBD, 2, scale=0.1)
    writer.weight("position_embd.weight", N_EMBD, N_CTX_TRAIN, scale=1.0)
    writer.norm("token_embd_norm")
    for layer in range(N_LAYERS):
        _attention(writer, layer)
        writer.norm(f"blk.{layer}.attn_output_norm")
        writer.weight(f"blk.{layer}.ffn_up.weight", N_EMBD, N_FF)
        writer.weight(f"blk.{layer}.ffn_down.weight", N_FF, N_EMBD)
        writer.norm(f"blk.{layer}.layer_output_norm")
    if ranks:
        writer.weight("cls.weight", N_EMBD, N_EMBD)
        writer.weight("cls.bias", N_EMBD)
        writer.weight("cls.output.weight", N_EMBD, 1)
        writer.weight("cls.output.bias", 1)
    writer.finish(output_norm="")


MODELS: dict[str, Callable[[Path], Any]] = {
    "sliding": sliding,
    "recurrent": recurrent,
    "hybrid": hybrid,
}

ARCHITECTURES: dict[str, Callable[[Path], Any]] = {
    "gemma2": sliding,
    "gemma3": gemma3,
    "gemma3n": gemma3n,
    "gpt-oss": gpt_oss,
    "mamba": recurrent,
    "mamba2": mamba2,
    "jamba": hybrid,
    "granite": granite,
    "qwen35": qwen35,
    "lfm2": lfm2,
}
"""Models whose memory can't drop the end of a sequence."""
