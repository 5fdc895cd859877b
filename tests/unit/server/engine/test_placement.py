"""Which CPUs the engine's threads get for the operator's settings."""

from __future__ import annotations

import pytest

from config import load_settings
from protocol.config import Placement
from server.engine.placement import draft_placements, placements


def placed(*cpus: int, strict: bool = False) -> Placement:
    return Placement(cpus=cpus, strict=strict)


@pytest.mark.parametrize(
    ("line", "decode", "prefill"),
    [
        ("", placed(), placed()),
        ("-C 5", placed(0, 2), placed(0, 2)),
        ("-C 0xF0 -Cr 1-2 --cpu-strict 1", placed(1, 2, 4, 5, 6, 7, strict=True),
         placed(1, 2, 4, 5, 6, 7, strict=True)),
        ("-Cr 0-1 -Crb 2-3", placed(0, 1), placed(2, 3)),
        ("-Cr 1-1 -Cb 3 -Crb 4-4 --cpu-strict-batch 1", placed(1), placed(0, 1, 4, strict=True)),
        ("-Cr -2 --cpu-strict 1 --cpu-strict-batch 0", placed(0, 1, 2, strict=True),
         placed(0, 1, 2)),
    ],
)  # fmt: skip
def test_prefill_follows_decoding(line: str, decode: Placement, prefill: Placement) -> None:
    assert placements(load_settings(line.split(), {})) == (decode, prefill)


@pytest.mark.parametrize(
    ("line", "decode", "prefill"),
    [
        ("-C 2 --cpu-strict 1", placed(1, strict=True), placed(1, strict=True)),
        ("-C 2 -Cd 4", placed(2), placed(2)),
        ("-Cd 4 -Crd 0-0 -Cbd 8 --cpu-strict-batch-draft 1", placed(0, 2), placed(3, strict=True)),
    ],
)
def test_the_draft_model_follows_the_model(
    line: str, decode: Placement, prefill: Placement
) -> None:
    assert draft_placements(load_settings(line.split(), {})) == (decode, prefill)
