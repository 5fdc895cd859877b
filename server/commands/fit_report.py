"""What fits, as a table for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.commands.table import table
from server.fit.advice import Advice
from server.fit.budget import Budget
from server.fit.choice import Choice
from server.store.sizes import human_size

_LEGEND = (
    "Columns of types: slots x tokens of each slot that fit with this type of the KV cache.",
    "READ/TOKEN: what one token reads. TOKENS/S: what the bandwidth then allows one stream.",
)


def as_text(advices: Sequence[Advice], budget: Budget, source: str) -> str:
    """The table, under a line that says for which memory it holds."""
    first = advices[0]
    context = f"{first.layouts.n_ctx_slot:,} tokens of context"
    intro = f"{source}: {_budget(budget)}. Wanted: {context} for each slot."
    has_devices = bool(budget.devices)
    layers = ["LAYERS"] if has_devices else []
    heads = ["QUANT", "FILES", *first.layouts.cache_types, *layers, "READ/TOKEN", "TOKENS/S"]
    rows = [_row(advice, has_devices=has_devices) for advice in advices]
    shown = table([*heads, "VERDICT"], rows, right=heads[1:])
    return "\n".join([intro, "", shown, "", *_LEGEND])


def as_json(advices: Sequence[Advice], budget: Budget, bandwidth: float) -> dict[str, Any]:
    """The same in numbers; sizes are in bytes."""
    return {
        "memory": {"host": budget.host, "devices": list(budget.devices)},
        "host_bandwidth": round(bandwidth),
        "models": [_entry(advice) for advice in advices],
    }


def _budget(budget: Budget) -> str:
    devices = "".join(f" and {_memory(free)} on a device" for free in budget.devices)
    return f"{_memory(budget.host)} of the host{devices}"


def _memory(num_bytes: int) -> str:
    """As memories are sold, and as `--memory` takes them."""
    return f"{num_bytes / 2**30:,.2f} GiB"


def _row(advice: Advice, *, has_devices: bool) -> list[str]:
    candidate, best = advice.candidate, advice.best
    row = [candidate.quantization or candidate.name, human_size(candidate.num_bytes)]
    row += [_room(choice) for choice in advice.by_type]
    if has_devices:
        row.append(f"{best.need.n_gpu_layers}/{advice.layers.count}" if best.fits else "-")
    speed = f"{advice.tokens_a_second:,.1f}" if advice.tokens_a_second and best.fits else "-"
    return [*row, human_size(advice.bytes_a_token), speed, advice.verdict]


def _room(choice: Choice) -> str:
    layout = choice.layout
    return f"{layout.n_slots} x {layout.n_ctx_slot:,}" if choice.fits else "-"


def _entry(advice: Advice) -> dict[str, Any]:
    candidate, best = advice.candidate, advice.best
    return {
        "file": candidate.name,
        "quantization": candidate.quantization,
        "size": candidate.num_bytes,
        "fits": best.fits,
        "verdict": advice.verdict,
        "n_layers": advice.layers.count,
        "best": _choice(best),
        "by_cache_type": {one.layout.cache_type: _choice(one) for one in advice.by_type},
        "bytes_per_token": advice.bytes_a_token,
        "tokens_per_second": round(advice.tokens_a_second, 2) or None,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    layout, need = choice.layout, choice.need
    return {
        "fits": choice.fits,
        "slots": layout.n_slots,
        "tokens_per_slot": layout.n_ctx_slot,
        "ctx_size": layout.n_ctx,
        "cache_type": layout.cache_type,
        "n_gpu_layers": need.n_gpu_layers,
        "host": need.host,
        "device": need.device,
        "lacking": choice.lacking,
    }
