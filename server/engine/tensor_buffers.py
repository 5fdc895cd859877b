"""The memory of single tensors, from the operator's settings."""

from __future__ import annotations

from collections.abc import Iterator

from config import ServeSettings

CPU = "CPU"
"""The name of the CPU's memory."""

_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch)?exps"
_DENSE = r"\.ffn_(up|down|gate)\."

Rule = tuple[str, str]
"""A regular expression of tensors' names, and the memory for them."""


def tensor_buffers(settings: ServeSettings) -> tuple[Rule, ...]:
    """The model's rules; those of `--override-tensor` come first, because the first one counts."""
    return (
        *settings.override_tensor,
        *_experts(all_layers=settings.cpu_moe, num_layers=settings.n_cpu_moe),
        *_of_layers(settings.n_cpu_ffn, _DENSE),
    )


def draft_tensor_buffers(settings: ServeSettings) -> tuple[Rule, ...]:
    """The draft model's rules."""
    experts = _experts(
        all_layers=settings.spec_draft_cpu_moe, num_layers=settings.spec_draft_n_cpu_moe
    )
    return (*settings.spec_draft_override_tensor, *experts)


def _experts(*, all_layers: bool, num_layers: int) -> Iterator[Rule]:
    if all_layers:
        yield _EXPERTS, CPU
    yield from _of_layers(num_layers, _EXPERTS)


def _of_layers(count: int, pattern: str) -> Iterator[Rule]:
    if count > 0:
        layers = "|".join(str(layer) for layer in range(count))
        yield rf"blk\.({layers}){pattern}", CPU
