"""Random models of some tens of megabytes, one for each shape of memory that models have.

Their caches are large enough to be measured. Nobody computes much with them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

N_VOCAB = 4096
N_EMBD = 512
N_FF = 768
N_LAYERS = 6
N_HEADS = 8
HEAD = N_EMBD // N_HEADS
WINDOW = 512
N_EXPERTS = 8
N_FF_EXPERT = 192
D_INNER = 2 * N_EMBD
D_STATE = 64
STATE_HEADS = 16


class _Shape:
    """A GGUF file that is being written, with weights of half precision."""

    def __init__(self, path: Path, arch: str, kv_heads: int | list[int] = N_HEADS) -> None:
        self.gguf = gguf.GGUFWriter(str(path), arch)
        self._random = np.random.default_rng(7)
        self.gguf.add_block_count(N_LAYERS)
        self.gguf.add_context_length(32768)
        self.gguf.add_embedding_length(N_EMBD)
        self.gguf.add_feed_forward_length(N_FF)
        self.gguf.add_layer_norm_rms_eps(1e-5)
        self.gguf.add_head_count(N_HEADS)
        self.gguf.add_head_count_kv(kv_heads)
        self._vocabulary()
        self.matrix("token_embd.weight", N_EMBD, N_VOCAB)
        self.ones("output_norm.weight", N_EMBD)

    def _vocabulary(self) -> None:
        words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        kinds = [2, 3, 3] + [6] * 256 + [1] * (N_VOCAB - 259)
        self.gguf.add_tokenizer_model("llama")
        self.gguf.add_token_list(words + [f"w{index}" for index in range(N_VOCAB - len(words))])
        self.gguf.add_token_scores([0.0] * N_VOCAB)
        self.gguf.add_token_types(kinds)
        self.gguf.add_bos_token_id(1)
        self.gguf.add_eos_token_id(2)

    def matrix(self, name: str, *shape: int) -> None:
        """Add a tensor, in GGUF's order of dimensions."""
        values = self._random.standard_normal(shape[::-1], dtype=np.float32) / np.sqrt(shape[0])
        self.gguf.add_tensor(name, values.astype(np.float16))

    def vector(self, name: str, *shape: int, value: float = 0.1) -> None:
        """Add a tensor that llama.cpp wants in full precision."""
        self.gguf.add_tensor(name, np.full(shape[::-1], value, dtype=np.float32))

    def ones(self, name: str, size: int) -> None:
        """Add the factors of a norm."""
        self.vector(name, size, value=1.0)

    def attention(self, layer: int, kv_heads: int = N_HEADS, *, norms: bool = False) -> None:
        """Add heads of keys, values and queries."""
        prefix = f"blk.{layer}"
        self.matrix(f"{prefix}.attn_q.weight", N_EMBD, N_EMBD)
        self.matrix(f"{prefix}.attn_k.weight", N_EMBD, kv_heads * HEAD)
        self.matrix(f"{prefix}.attn_v.weight", N_EMBD, kv_heads * HEAD)
        self.matrix(f"{prefix}.attn_output.weight", N_EMBD, N_EMBD)
        if norms:
            self.ones(f"{prefix}.attn_q_norm.weight", HEAD)
            self.ones(f"{prefix}.attn_k_norm.weight", HEAD)

    def feed_forward(self, layer: int) -> None:
        """Add a dense network."""
        prefix = f"blk.{layer}"
        self.ones(f"{prefix}.ffn_norm.weight", N_EMBD)
        self.matrix(f"{prefix}.ffn_gate.weight", N_EMBD, N_FF)
        self.matrix(f"{prefix}.ffn_up.weight", N_EMBD, N_FF)
        self.matrix(f"{prefix}.ffn_down.weight", N_FF, N_EMBD)

    def experts(self, layer: int) -> None:
        """Add a network of experts."""
        prefix = f"blk.{layer}"
        self.ones(f"{prefix}.ffn_norm.weight", N_EMBD)
        self.vector(f"{prefix}.ffn_gate_inp.weight", N_EMBD, N_EXPERTS)
        self.matrix(f"{prefix}.ffn_gate_exps.weight", N_EMBD, N_FF_EXPERT, N_EXPERTS)
        self.matrix(f"{prefix}.ffn_up_exps.weight", N_EMBD, N_FF_EXPERT, N_EXPERTS)
        self.matrix(f"{prefix}.ffn_down_exps.weight", N_FF_EXPERT, N_EMBD, N_EXPERTS)

    def has_experts(self) -> None:
        """Say how many experts there are."""
        self.gguf.add_expert_count(N_EXPERTS)
        self.gguf.add_expert_used_count(2)
        self.gguf.add_expert_feed_forward_length(N_FF_EXPERT)

    def finish(self) -> None:
        """Write the file."""
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def _llama(path: Path, kv_heads: int) -> None:
    shape = _Shape(path, "llama", kv_heads)
    shape.gguf.add_rope_dimension_count(HEAD)
    for layer in range(N_LAYERS):
        shape.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        shape.attention(layer, kv_heads)
        shape.feed_forward(layer)
    shape.finish()


def mha(path: Path) -> None:
    """Write a Llama model: each head has keys and values of its own."""
    _llama(path, N_HEADS)


def gqa(path: Path) -> None:
    """Write a Llama model: four heads share keys and values."""
    _llama(path, N_HEADS // 4)


def mla(path: Path) -> None:
    """Write a DeepSeek 2 model: all heads share a compressed vector."""
    shape = _Shape(path, "deepseek2", 1)
    rank_q, rank_kv, rope, nope = 128, 256, 64, 64
    shape.has_experts()
    shape.gguf.add_leading_dense_block_count(1)
    shape.gguf.add_q_lora_rank(rank_q)
    shape.gguf.add_kv_lora_rank(rank_kv)
    shape.gguf.add_key_length(rank_kv + rope)
    shape.gguf.add_value_length(rank_kv)
    shape.gguf.add_key_length_mla(nope + rope)
    shape.gguf.add_value_length_mla(HEAD)
    shape.gguf.add_rope_dimension_count(rope)
    shape.gguf.add_expert_shared_count(1)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        shape.ones(f"{prefix}.attn_norm.weight", N_EMBD)
        shape.ones(f"{prefix}.attn_q_a_norm.weight", rank_q)
        shape.ones(f"{prefix}.attn_kv_a_norm.weight", rank_kv)
        shape.matrix(f"{prefix}.attn_q_a.weight", N_EMBD, rank_q)
        shape.matrix(f"{prefix}.attn_q_b.weight", rank_q, N_HEADS * (nope + rope))
        shape.matrix(f"{prefix}.attn_kv_a_mqa.weight", N_EMBD, rank_kv + rope)
        shape.matrix(f"{prefix}.attn_k_b.weight", nope, rank_kv, N_HEADS)
        shape.matrix(f"{prefix}.attn_v_b.weight", rank_kv, HEAD, N_HEADS)
        shape.matrix(f"{prefix}.attn_output.weight", N_HEADS * HEAD, N_EMBD)
        if layer == 0:
            shape.feed_forward(layer)
        else:
            shape.experts(layer)
            shape.matrix(f"{prefix}.ffn_gate_shexp.weight", N_EMBD, N_FF_EXPERT)
            shape.matrix(f"{prefix}.ffn_up_shexp.weight", N_EMBD, N_FF_EXPERT)
            shape.matrix(f"{prefix}.ffn_down_shexp.weight", N_FF_EXPERT, N_EMBD)
    shape.finish()


def swa(path: Path) -> None:
    """Write a Gemma 3 model: five layers of six see only the latest tokens."""
    shape = _Shape(path, "gemma3")
    shape.gguf.add_key_length(HEAD)
    shape.gguf.add_value_length(HEAD)
    shape.gguf.add_sliding_window(WINDOW)
    for layer in range(N_LAYERS):
        for name in ("attn_norm", "post_attention_norm", "post_ffw_norm"):
            shape.ones(f"blk.{layer}.{name}.weight", N_EMBD)
        shape.attention(layer, norms=True)
        shape.feed_forward(layer)
    shape.finish()


def moe(path: Path) -> None:
    """Write a Qwen 3 model with experts."""
    shape = _Shape(path, "qwen3moe", 4)
    shape.has_experts()
    shape.gguf.add_key_length(HEAD)
    shape.gguf.add_value_length(HEAD)
    for layer in range(N_LAYERS):
        shape.ones(f"blk.{layer}.attn_norm.weight", N_EMBD)
        shape.attention(layer, 4, norms=True)
        shape.experts(layer)
    shape.finish()


def hybrid(path: Path) -> None:
    """Write a Granite 4 model: two layers of three have a state, the third has attention."""
    shape = _Shape(path, "granitehybrid", [N_HEADS if layer % 3 == 2 else 0 for layer in range(6)])
    width = D_INNER + 2 * D_STATE
    shape.gguf.add_ssm_conv_kernel(4)
    shape.gguf.add_ssm_inner_size(D_INNER)
    shape.gguf.add_ssm_state_size(D_STATE)
    shape.gguf.add_ssm_time_step_rank(STATE_HEADS)
    shape.gguf.add_ssm_group_count(1)
    for layer in range(N_LAYERS):
        prefix = f"blk.{layer}"
        shape.ones(f"{prefix}.attn_norm.weight", N_EMBD)
        if layer % 3 == 2:
            shape.attention(layer)
        else:
            shape.matrix(f"{prefix}.ssm_in.weight", N_EMBD, D_INNER + width + STATE_HEADS)
            shape.vector(f"{prefix}.ssm_conv1d.weight", 4, width)
            shape.vector(f"{prefix}.ssm_conv1d.bias", width)
            shape.vector(f"{prefix}.ssm_dt.bias", STATE_HEADS)
            shape.vector(f"{prefix}.ssm_a", 1, STATE_HEADS, value=-0.1)
            shape.vector(f"{prefix}.ssm_d", 1, STATE_HEADS)
            shape.vector(f"{prefix}.ssm_norm.weight", D_INNER, 1, value=1.0)
            shape.matrix(f"{prefix}.ssm_out.weight", D_INNER, N_EMBD)
        shape.feed_forward(layer)
    shape.finish()


SHAPES: dict[str, Callable[[Path], None]] = {
    "mha": mha,
    "gqa": gqa,
    "mla": mla,
    "swa": swa,
    "moe": moe,
    "hybrid": hybrid,
}
