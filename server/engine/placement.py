"""The CPUs of the engine's threads, from the operator's settings.

What is not said for prefill is as for decoding, and what is not said for the draft model is as for
the model.
"""

from __future__ import annotations

from config import ServeSettings
from protocol.config import Placement


def placements(settings: ServeSettings) -> tuple[Placement, Placement]:
    """Where decoding and prefill run."""
    decode = Placement(
        cpus=_union(settings.cpu_mask, settings.cpu_range), strict=settings.cpu_strict == 1
    )
    cpus = _union(settings.cpu_mask_batch, settings.cpu_range_batch)
    return decode, _changed(decode, cpus, settings.cpu_strict_batch)


def draft_placements(settings: ServeSettings) -> tuple[Placement, Placement]:
    """Where the draft model's decoding and prefill run."""
    decode, _ = placements(settings)
    cpus = _union(settings.spec_draft_cpu_mask, settings.spec_draft_cpu_range)
    draft = _changed(decode, cpus, settings.spec_draft_cpu_strict)
    cpus = settings.spec_draft_cpu_mask_batch
    return draft, _changed(draft, cpus, settings.spec_draft_cpu_strict_batch)


def _changed(base: Placement, cpus: tuple[int, ...], strict: int) -> Placement:
    """`base` with other CPUs if there are any, and another strictness if it is 0 or 1."""
    return Placement(cpus=cpus or base.cpus, strict=base.strict if strict < 0 else strict == 1)


def _union(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*first, *second}))
