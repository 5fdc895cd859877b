"""The Llama architecture in PyTorch, with the memory layout of llama.cpp.

RoPE rotates neighbouring pairs (2i, 2i+1), which is llama.cpp's convention for the architecture
`llama`. So the export needs no permutation of the query and key rows. Shapes in comments: B rows, T
tokens, D embedding, H heads, K key-value heads, E head size, F feed-forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as fn
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelConfig:
    """Everything that the export writes into the GGUF's header."""

    vocab: int = 2048
    embedding: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 768
    context: int = 4096
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.embedding // self.heads


STRIPE = 128
TARGET = ModelConfig()
DRAFT = ModelConfig(embedding=128, layers=2, heads=2, kv_heads=1, feed_forward=256)


def rope_tables(config: ModelConfig, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [T, E/2]."""
    half = torch.arange(0, config.head_size, 2, dtype=torch.float32)
    frequencies = config.rope_base ** (-half / config.head_size)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of x [B, T, H, E] by the angles of their positions [T, E/2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None, :], sin[:, None, :]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


def attend_in_stripes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Masked attention of q, k, v [B, H, T, E], computed for one stripe of queries at a time.

    A stripe sees no key behind its own end, so three eighths of the square are never computed.
    Compiled for a CPU, plain products are faster than PyTorch's fused kernel, whose backward pass
    is slow.
    """
    out = []
    for start in range(0, q.shape[2], STRIPE):
        stop = start + STRIPE
        scores = q[:, :, start:stop] @ k[:, :, :stop].mT * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask[:, :, start:stop, :stop], -1e4)
        out.append(scores.float().softmax(-1).to(v.dtype) @ v[:, :, :stop])
    return torch.cat(out, dim=2)


class Block(nn.Module):
    """Grouped-query attention and a SwiGLU feed-forward block, each after a norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, kv = config.embedding, config.kv_heads * config.head_size
        self.config = config
        self.attn_norm = nn.Parameter(torch.ones(width))
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, kv, bias=False)
        self.attn_v = nn.Linear(width, kv, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.Parameter(torch.ones(width))
        self.ffn_gate = nn.Linear(width, config.feed_forward, bias=False)
        self.ffn_up = nn.Linear(width, config.feed_forward, bias=False)
        self.ffn_down = nn.Linear(config.feed_forward, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """x is [B, T, D]. mask [B, 1, T, T] is true where a token may look; None is causal."""
        eps = self.config.norm_epsilon
        x = x + self._attend(fn.rms_norm(x, x.shape[-1:], self.attn_norm, eps), cos, sin, mask)
        normed = fn.rms_norm(x, x.shape[-1:], self.ffn_norm, eps)
        return x + self.ffn_down(fn.silu(self.ffn_gate(normed)) * self.ffn_up(normed))

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        heads = (-1, self.config.head_size)
        q = rotate(self.attn_q(x).unflatten(-1, heads), cos, sin).transpose(1, 2)
        k = rotate(self.attn_k(x).unflatten(-1, heads), cos, sin).transpose(1, 2)
        v = self.attn_v(x).unflatten(-1, heads).transpose(1, 2)
        group = self.config.heads // self.config.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        out = (
            fn.scaled_dot_product_attention(q, k, v, is_causal=True)
            if mask is None
            else attend_in_stripes(q, k, v, mask)
        )
        return self.attn_output(out.transpose(1, 2).flatten(-2))


class Llama(nn.Module):
    """Maps token ids to hidden states; the embedding is also the output matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab, config.embedding)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output_norm = nn.Parameter(torch.ones(config.embedding))
        cos, sin = rope_tables(config, config.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, weight in self.blocks.named_parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.6 * weight.shape[1] ** -0.5)
            # Blocks start as the identity, so that the embedding settles first.
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(weight)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens [B, T] to normed hidden states [B, T, D]."""
        length = tokens.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return fn.rms_norm(x, x.shape[-1:], self.output_norm, self.config.norm_epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [..., D] to logits [..., V]."""
        return fn.linear(hidden, self.embed.weight)

    def parameter_count(self) -> int:
        """The number of weights."""
        return sum(weight.numel() for weight in self.parameters())


def conversation_mask(tokens: Tensor, end: int) -> Tensor:
    """A mask [B, 1, T, T]: true where a token may look at an earlier token of its own conversation.

    A row has several conversations, each closed by `end`. The number of `end` tokens strictly
    before a token is the index of its conversation.
    """
    ended = (tokens == end).long()
    member = ended.cumsum(1) - ended
    same = member[:, :, None] == member[:, None, :]
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
    return (same & causal)[:, None]
