"""The sequence that embeds one prompt."""

from __future__ import annotations

from protocol.commands import SequenceSpec
from protocol.sampling import SamplingParams
from server.context import ServerContext
from server.generation.types import GenerationRequest
from server.model.adapters import LoraScale
from server.requests.sequence import user_digest


def embedding_sequence(
    context: ServerContext,
    tokens: tuple[int, ...],
    *,
    lora: list[LoraScale] | None = None,
    adapter: str | None = None,
    cache_salt: str = "",
    priority: int = 0,
    user: str = "",
) -> GenerationRequest:
    """A request to embed one prompt. Raises `InvalidRequest` for an unknown adapter."""
    spec = SequenceSpec(
        prompt=tokens,
        sampling=SamplingParams(),
        embedding=True,
        max_tokens=0,
        lora=context.adapter_scales.lora_set(context.engine.model.adapters, lora, adapter),
        cache_prompt=context.settings.cache_prompt,
        cache_salt=cache_salt,
        priority=priority,
        user=user_digest(user),
    )
    return GenerationRequest(spec=spec)
