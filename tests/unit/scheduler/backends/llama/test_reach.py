"""How far down the likeliest tokens a request's samplers look."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.sampling import SamplingParams
from scheduler.backends.llama.reach import ALL, is_argmax, reach_of

N_CTX = 1000

REACHES: list[tuple[dict[str, Any], int]] = [
    ({}, 40),
    ({"top_k": 7, "top_p": 0.3, "min_p": 0.2, "typical_p": 0.5}, 7),
    ({"top_k": 0}, ALL),
    ({"samplers": ()}, ALL),
    ({"samplers": ("top_p", "min_p", "temperature")}, ALL),
    ({"samplers": ("top_p", "top_k")}, ALL),
    ({"samplers": ("top_p", "top_k"), "top_p": 1.0}, 40),
    ({"samplers": ("temperature", "top_k")}, ALL),
    ({"samplers": ("temperature", "top_k"), "temperature": 1.0}, 40),
    ({"samplers": ("infill", "top_k")}, ALL),
    ({"samplers": ("top_k", "infill")}, 40),
    ({"samplers": ("top_k", "adaptive_p"), "adaptive_target": 0.3}, 40),
    ({"samplers": ("adaptive_p",), "temperature": 0.0}, ALL),
    ({"top_n_sigma": 1.0}, ALL),
    ({"xtc_probability": 0.5}, 40),
    ({"mirostat": 1}, ALL),
    ({"mirostat": 2, "temperature": 0.0}, ALL),
    ({"repeat_penalty": 1.1}, 40 + 64),
    ({"frequency_penalty": 0.1, "repeat_last_n": -1}, 40 + N_CTX),
    ({"presence_penalty": 0.1, "repeat_last_n": 0}, 40),
    ({"repeat_penalty": 0.9}, ALL),
    ({"frequency_penalty": -0.1}, ALL),
    ({"repeat_penalty": 1.1, "samplers": ("top_k", "penalties")}, 40 + 64),
    ({"dry_multiplier": 0.8, "dry_penalty_last_n": 10}, 40 + 10),
    ({"dry_multiplier": 0.8, "repeat_penalty": 1.2}, 40 + 64 + 64),
    ({"repeat_penalty": 1.1, "temperature": 0.0, "top_k": 0}, 1 + 64),
    ({"repeat_penalty": 1.1, "temperature": 0.0, "samplers": ("top_p", "penalties")}, ALL),
    (
        {
            "repeat_penalty": 1.1,
            "temperature": 0.0,
            "samplers": ("top_p", "penalties", "temperature"),
        },
        ALL,
    ),
]


@pytest.mark.parametrize(("fields", "reach"), REACHES, ids=repr)
def test_the_reach_ends_at_the_top_k(fields: dict[str, Any], reach: int) -> None:
    assert reach_of(SamplingParams(**fields), N_CTX) == reach


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0},
        {"temperature": 0.0, "top_p": 0.1, "top_k": 0},
        {"temperature": 0.0, "logit_bias": ((1, 2.0),)},
        {"top_k": 1},
        {"top_k": 1, "typical_p": 0.5, "xtc_probability": 1.0},
        {"temperature": 0.0, "repeat_penalty": 1.1, "repeat_last_n": 0},
    ],
    ids=repr,
)
def test_these_samplers_take_the_likeliest_token(fields: dict[str, Any]) -> None:
    assert is_argmax(SamplingParams(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"top_k": 2},
        {"top_k": 1, "samplers": ("typ_p", "top_k"), "typical_p": 0.5},
        {"top_k": 1, "samplers": ("temperature",)},
        {"top_k": 1, "repeat_penalty": 1.1},
        {"top_k": 1, "post_sampling_probs": True, "top_logprobs": 1},
        {"top_k": 1, "mirostat": 2},
        {"temperature": 0.0, "repeat_penalty": 1.1},
        {"temperature": 0.0, "presence_penalty": -0.1},
        {"temperature": 0.0, "dry_multiplier": 0.5},
        {"temperature": 0.0, "dynatemp_range": 0.5},
        {"temperature": 0.0, "typical_p": 0.5},
        {"temperature": 0.0, "samplers": ("top_p",)},
        {"temperature": 0.0, "samplers": ("temperature", "infill")},
    ],
    ids=repr,
)
def test_these_samplers_may_take_another(fields: dict[str, Any]) -> None:
    assert not is_argmax(SamplingParams(**fields))
