"""The parameters in force, as `generation_settings`, `/slots` and `/props` report them."""

from __future__ import annotations

from typing import Any

from grammars.constraint import Constraint, GbnfGrammar, LazyConstraint
from scheduler.protocol import UNLIMITED, SamplingParams
from server.generation import GenerationRequest
from server.sampling_fields import SamplingFields


def sampling_settings(sampling: SamplingParams) -> dict[str, Any]:
    """The samplers' own parameters, under the names of a request body."""
    return {
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "dynatemp_range": sampling.dynatemp_range,
        "dynatemp_exponent": sampling.dynatemp_exponent,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "top_n_sigma": sampling.top_n_sigma,
        "xtc_probability": sampling.xtc_probability,
        "xtc_threshold": sampling.xtc_threshold,
        "typical_p": sampling.typical_p,
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": sampling.repeat_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "dry_multiplier": sampling.dry_multiplier,
        "dry_base": sampling.dry_base,
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_penalty_last_n": sampling.dry_penalty_last_n,
        "dry_sequence_breakers": sampling.dry_sequence_breakers,
        "mirostat": sampling.mirostat,
        "mirostat_tau": sampling.mirostat_tau,
        "mirostat_eta": sampling.mirostat_eta,
        "adaptive_target": sampling.adaptive_target,
        "adaptive_decay": sampling.adaptive_decay,
        "logit_bias": [{"bias": bias, "token": token} for token, bias in sampling.logit_bias],
        "n_probs": max(sampling.top_logprobs, 0),
        "min_keep": sampling.min_keep,
        "samplers": sampling.samplers,
        "post_sampling_probs": sampling.post_sampling_probs,
    }


def limit_settings(max_tokens: int) -> dict[str, Any]:
    """The limits of an answer; the context is never shifted, so nothing is kept or dropped."""
    return {"max_tokens": max_tokens, "n_predict": max_tokens, "n_keep": 0, "n_discard": 0}


def request_settings(
    body: SamplingFields, request: GenerationRequest, *, ignore_eos: bool
) -> dict[str, Any]:
    """What one sequence of a body really ran with."""
    return {
        **sampling_settings(request.sampling),
        **limit_settings(request.max_tokens),
        "stop": request.stop,
        "ignore_eos": ignore_eos,
        "stream": body.stream,
        "grammar": body.grammar or _grammar_text(request.constraint),
        "grammar_lazy": isinstance(request.constraint, LazyConstraint),
        "grammar_triggers": [],
        "preserved_tokens": [],
        "chat_format": "Content-only",
        "timings_per_token": body.timings_per_token,
        "backend_sampling": False,
        "lora": [],
    }


def default_settings(sampling: SamplingParams, *, n_predict: int = UNLIMITED) -> dict[str, Any]:
    """What a request that says nothing runs with; each draws its own seed."""
    return {
        **sampling_settings(sampling),
        **limit_settings(n_predict),
        "seed": 2**32 - 1,
        "stop": [],
        "stream": False,
        "timings_per_token": False,
        "lora": [],
    }


def _grammar_text(constraint: Constraint | None) -> str:
    if constraint is None:
        return ""
    grammar = constraint.constraint if isinstance(constraint, LazyConstraint) else constraint
    return grammar.text if isinstance(grammar, GbnfGrammar) else grammar.definition
