"""Which weights a layer takes along, and which of them a token reads."""

from __future__ import annotations

import pytest

from server.fit.layers import layers_of
from server.model.gguf_header import GgufHeader


def header(**metadata: object) -> GgufHeader:
    values = {"general.architecture": "a", "a.block_count": 2} | {
        f"a.{key}": value for key, value in metadata.items()
    }
    return GgufHeader(3, values, 0, 0)


DENSE = {
    "token_embd.weight": 1000,
    "blk.0.attn_q.weight": 100,
    "blk.1.attn_q.weight": 200,
    "output_norm.weight": 10,
    "output.weight": 900,
}


def test_layers_and_what_is_outside_of_them() -> None:
    layers = layers_of(header(), DENSE)
    assert layers.count == 3
    assert layers.stored == sum(DENSE.values())
    assert layers.read == 100 + 200 + 910  # of the embedding one row is read
    assert [layers.on_device(n).stored for n in range(5)] == [0, 910, 1110, 1210, 1210]


def test_an_embedding_that_is_the_output_is_read() -> None:
    tied = {name: size for name, size in DENSE.items() if name != "output.weight"}
    layers = layers_of(header(), tied)
    assert layers.stored == sum(tied.values())
    assert layers.read == 100 + 200 + 10 + 1000


def test_of_experts_those_are_read_that_are_asked() -> None:
    tensors = {**DENSE, "blk.1.ffn_up_exps.weight": 800, "blk.1.ffn_up_shexp.weight": 40}
    layers = layers_of(header(expert_count=8, expert_used_count=2), tensors)
    assert layers.stored == sum(tensors.values())
    assert layers.read == pytest.approx(100 + 200 + 910 + 800 / 4 + 40)


def test_a_smaller_quantization_is_in_proportion() -> None:
    layers = layers_of(header(), DENSE)
    assert layers.times(0.5).stored == pytest.approx(layers.stored / 2, abs=4)
    assert layers.times(0.5).read == pytest.approx(layers.read / 2)


@pytest.mark.parametrize("count", [-1, 0, 1, 10**12])
def test_a_wrong_number_of_layers_is_no_crash(count: int) -> None:
    layers = layers_of(header(block_count=count), DENSE | {"blk.9.attn_q.weight": 5})
    assert layers.stored == sum(DENSE.values()) + 5
