"""The JSON of the parameters in force, for `generation_settings`, `/slots` and `/props`."""

from __future__ import annotations

from typing import Any

import msgspec

from config.speculation import NONE
from grammars.constraint import Constraint, GbnfGrammar, LazyConstraint, ThinkingConstraint
from protocol.commands import UNLIMITED, ContextShift, Speculation
from protocol.sampling import SamplingParams
from server.generation.types import GenerationRequest
from server.requests.sampling_fields import SamplingFields

_TEXT_SETTINGS: dict[str, Any] = {
    "chat_format": "Content-only",
    "reasoning_format": "none",
    "reasoning_in_content": False,
    "generation_prompt": "",
}
"""What llama-server tells of text that is not parsed."""


def sampling_settings(sampling: SamplingParams) -> dict[str, Any]:
    """The samplers' own parameters, under the names of a request body."""
    settings = msgspec.structs.asdict(sampling)
    settings["n_probs"] = max(settings.pop("top_logprobs"), 0)
    settings["logit_bias"] = [{"bias": bias, "token": token} for token, bias in sampling.logit_bias]
    return settings


def limit_settings(max_tokens: int, shift: ContextShift | None = None) -> dict[str, Any]:
    """The limits of an answer, and what a context shift keeps and discards."""
    return {
        "max_tokens": max_tokens,
        "n_predict": max_tokens,
        "n_keep": shift.keep if shift else 0,
        "n_discard": shift.discard if shift else 0,
    }


def speculation_settings(speculation: Speculation | None) -> dict[str, Any]:
    """The draft methods and their bounds, under llama-server's names."""
    if speculation is None:
        return {"speculative.types": NONE}
    settings: dict[str, Any] = {
        "speculative.types": ",".join(speculation.methods),
        "speculative.n_max": speculation.n_max,
        "speculative.n_min": speculation.n_min,
        "speculative.p_min": speculation.p_min,
    }
    for method, own in speculation.own_bounds.items():
        settings[f"speculative.{method}.n_max"] = own.n_max
        settings[f"speculative.{method}.n_min"] = own.n_min
    return settings


def request_settings(
    body: SamplingFields, request: GenerationRequest, *, ignore_eos: bool
) -> dict[str, Any]:
    """The parameters that one sequence of a body really ran with."""
    return {
        **sampling_settings(request.spec.sampling),
        **limit_settings(request.spec.max_tokens, request.spec.context_shift),
        **speculation_settings(request.spec.speculation),
        "stop": request.stop,
        "ignore_eos": ignore_eos,
        "stream": body.stream,
        "grammar": body.grammar or _grammar_text(request.spec.constraint),
        "grammar_lazy": isinstance(request.spec.constraint, LazyConstraint),
        "grammar_triggers": [trigger.model_dump() for trigger in body.grammar_triggers],
        "preserved_tokens": body.preserved_tokens,
        "timings_per_token": body.timings_per_token,
        **_TEXT_SETTINGS,
    }


def default_settings(
    sampling: SamplingParams,
    *,
    n_predict: int = UNLIMITED,
    speculation: Speculation | None = None,
) -> dict[str, Any]:
    """The parameters of a request that sets none but these."""
    return {
        **sampling_settings(sampling),
        **limit_settings(n_predict),
        **speculation_settings(speculation),
        "stop": [],
        "ignore_eos": False,
        "stream": False,
        "grammar": "",
        "grammar_lazy": False,
        "grammar_triggers": [],
        "preserved_tokens": [],
        "timings_per_token": False,
        **_TEXT_SETTINGS,
    }


def _grammar_text(constraint: Constraint | None) -> str:
    while isinstance(constraint, (LazyConstraint, ThinkingConstraint)):
        constraint = constraint.constraint
    if constraint is None:
        return ""
    return constraint.text if isinstance(constraint, GbnfGrammar) else constraint.definition
