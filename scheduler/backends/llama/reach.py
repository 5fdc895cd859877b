"""How many of the likeliest tokens decide which token a request's samplers choose."""

from __future__ import annotations

from protocol.sampling import SamplingParams

ALL = 0
"""The reach of samplers that look at every token."""

PENALTIES = {"penalties", "dry"}
"""Samplers that lower the logits of tokens which occurred."""


def reach_of(params: SamplingParams, n_ctx: int) -> int:
    """How many of the likeliest tokens the samplers' choice depends on, or `ALL`.

    The chain gives the same token for these candidates as for the whole vocabulary. That holds up
    to a top-k, as long as the samplers before do nothing but lower some tokens: as many more
    tokens can then come into the top k. `n_ctx` is the number of tokens of a slot.
    """
    lowered = _num_lowered(params, n_ctx)
    if params.mirostat or lowered is None:
        return ALL
    for place, name in enumerate(params.samplers):
        if name == "top_k" and params.top_k > 0:
            return params.top_k + lowered
        if not _leaves_the_order(name, params):
            lowers_later = lowered and not PENALTIES.isdisjoint(params.samplers[place:])
            return ALL if lowers_later or not _is_cold(params) else 1 + lowered
    return ALL


def is_argmax(params: SamplingParams) -> bool:
    """Whether the samplers always choose the token with the largest logit."""
    if params.post_sampling_probs or _is_unusual(params) or _num_lowered(params, 1) != 0:
        return False
    return _is_cold(params) or reach_of(params, 1) == 1


def window(last_n: int, n_ctx: int) -> int:
    """How many tokens a penalty looks back; -1 means all of a slot's `n_ctx` tokens."""
    return n_ctx if last_n < 0 else min(last_n, n_ctx)


def has_penalties(params: SamplingParams) -> bool:
    """Whether tokens are made less or more likely because they occurred."""
    neutral = params.repeat_penalty == 1.0 and params.frequency_penalty == 0.0
    return not (neutral and params.presence_penalty == 0.0) and params.repeat_last_n != 0


def _num_lowered(params: SamplingParams, n_ctx: int) -> int | None:
    """How many tokens may become less likely; None if tokens may become likelier."""
    count = 0
    if "penalties" in params.samplers and has_penalties(params):
        others = min(params.frequency_penalty, params.presence_penalty)
        if params.repeat_penalty < 1.0 or others < 0.0:
            return None
        count += window(params.repeat_last_n, n_ctx)
    if "dry" in params.samplers and params.dry_multiplier != 0.0:
        if params.dry_multiplier < 0.0:
            return None
        count += window(params.dry_penalty_last_n, n_ctx)
    return count


def _leaves_the_order(name: str, params: SamplingParams) -> bool:
    """Whether a sampler drops no token, and changes no logit but those that penalties lower."""
    temperature_is_off = params.temperature == 1.0 and params.dynatemp_range <= 0.0
    neutral = {
        "penalties": True,
        "dry": True,
        "top_n_sigma": params.top_n_sigma <= 0.0,
        "top_k": params.top_k <= 0,
        "typ_p": params.typical_p >= 1.0,
        "top_p": params.top_p >= 1.0,
        "min_p": params.min_p <= 0.0,
        "xtc": params.xtc_probability <= 0.0,
        "temperature": temperature_is_off,
    }
    return neutral.get(name, False)


def _is_cold(params: SamplingParams) -> bool:
    """Whether only the likeliest token is chosen at last, and no sampler drops it before."""
    reshaping = (
        params.mirostat
        or params.post_sampling_probs
        or _is_unusual(params)
        or params.xtc_probability > 0.0
        or params.dynatemp_range > 0.0
        or params.typical_p < 1.0
    )
    return params.temperature <= 0.0 and "temperature" in params.samplers and not reshaping


def _is_unusual(params: SamplingParams) -> bool:
    """Whether a sampler of its own kind takes part, which may choose any token."""
    return bool({"adaptive_p", "infill"} & set(params.samplers))
