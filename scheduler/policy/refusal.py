"""Why a sequence can't run on this engine."""

from __future__ import annotations

from protocol.commands import SequenceSpec
from scheduler.core.context_limits import ContextLimits
from scheduler.core.sequence import Sequence


def refusal(sequence: Sequence, limits: ContextLimits) -> str:
    """Why the sequence could never be computed, in words for the client; empty if it can."""
    spec, length = sequence.spec, len(sequence.tokens)
    if length == 0:
        return "the prompt is empty"
    if length > limits.n_ctx_slot:
        return f"{length} tokens do not fit a slot of {limits.n_ctx_slot}"
    if spec.slot is not None and not 0 <= spec.slot < limits.n_slots:
        return f"there is no slot {spec.slot}"
    if any(digest not in limits.adapters for digest, _ in spec.lora):
        return "an adapter that it needs is not loaded any more"
    return _wrong_kind(spec, limits)


def _wrong_kind(spec: SequenceSpec, limits: ContextLimits) -> str:
    """Why the model can't generate or embed what is asked for; empty if it can."""
    if not spec.embedding:
        return "" if limits.can_generate else "the model computes embeddings only"
    if limits.embedding is None:
        return "the model was loaded without embeddings"
    most = limits.embedding.max_tokens
    if len(spec.prompt) > most:
        return f"{len(spec.prompt)} tokens are more than the {most} possible"
    return ""
