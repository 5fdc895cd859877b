"""Which tensors the operator's settings move to the CPU's memory."""

from __future__ import annotations

import re

import pytest

from config import load_settings
from server.engine.tensor_buffers import draft_tensor_buffers, tensor_buffers

EXPERTS = ("blk.{}.ffn_up_exps.weight", "blk.{}.ffn_gate_up_exps.weight",
           "blk.{}.ffn_down_chexps.weight")  # fmt: skip
DENSE = ("blk.{}.ffn_up.weight", "blk.{}.ffn_down.weight", "blk.{}.ffn_gate.weight")
OTHERS = ("blk.{}.attn_q.weight", "blk.{}.ffn_norm.weight", "blk.{}.ffn_up_shexp.weight")
NAMES = [name.format(layer) for name in (*EXPERTS, *DENSE, *OTHERS) for layer in (0, 1, 10)]


def names(forms: tuple[str, ...], *layers: int) -> set[str]:
    return {form.format(layer) for form in forms for layer in layers}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", set()),
        ("--cpu-moe", names(EXPERTS, 0, 1, 10)),
        ("--n-cpu-moe 1", names(EXPERTS, 0)),
        ("-ncmoe 2", names(EXPERTS, 0, 1)),
        ("-ncffn 10", names(DENSE, 0, 1)),
        ("-ncffn 1 -ncmoe 11", names(DENSE, 0) | names(EXPERTS, 0, 1, 10)),
    ],
)
def test_experts_and_dense_weights_of_the_first_layers(line: str, expected: set[str]) -> None:
    rules = tensor_buffers(load_settings(line.split(), {}))
    assert {buffer for _, buffer in rules} <= {"CPU"}
    assert {n for n in NAMES if any(re.search(pattern, n) for pattern, _ in rules)} == expected


def test_the_operators_own_rules_come_first() -> None:
    rules = tensor_buffers(load_settings(["-cmoe", "-ot", "a=CUDA0,b=CUDA1"], {}))
    assert rules[:2] == (("a", "CUDA0"), ("b", "CUDA1"))
    assert len(rules) == 3


@pytest.mark.parametrize(
    ("line", "count"), [("-cmoe -ot a=CPU", 0), ("-cmoed", 1), ("-ncmoed 3 -otd a=CPU", 2)]
)
def test_the_draft_model_has_rules_of_its_own(line: str, count: int) -> None:
    assert len(draft_tensor_buffers(load_settings(line.split(), {}))) == count
