"""Sampling parameters that use one sampler each, by the name of the case."""

from __future__ import annotations

from typing import Any

PENALISED = {"repeat_penalty": 1.3, "frequency_penalty": 0.2, "presence_penalty": 0.1}

SAMPLER_CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "penalties": PENALISED,
    "dry": {"dry_multiplier": 0.8},
    "top_n_sigma": {"top_n_sigma": 2.0},
    "top_k": {"top_k": 5},
    "typ_p": {"typical_p": 0.8},
    "top_p": {"top_p": 0.5},
    "min_p": {"min_p": 0.3},
    "xtc": {"xtc_probability": 0.7, "xtc_threshold": 0.05},
    "temperature": {"temperature": 1.7},
    "dynamic temperature": {"temperature": 1.0, "dynatemp_range": 0.8, "dynatemp_exponent": 1.2},
    "mirostat": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2},
    "adaptive_p": {"samplers": ("top_k", "adaptive_p"), "adaptive_target": 0.3},
    "another order": {"samplers": ("temperature", "min_p", "top_k")},
    "none": {"samplers": ()},
    "min_keep": {"min_keep": 3, "top_p": 0.01},
}
