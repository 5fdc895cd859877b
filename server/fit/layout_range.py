"""The layouts of a model that an operator's settings allow, and what they take."""

from __future__ import annotations

from pathlib import Path

import msgspec

from config import ServeSettings
from server.fit.choice import CACHE_TYPES, Layout, LayoutRange
from server.fit.estimate import Estimator, LoadOptions
from server.fit.needs import NO_DEVICE, Needs

_ALL_LAYERS = 1 << 20


def layout_range(
    estimator: Estimator,
    path: Path,
    options: LoadOptions,
    settings: ServeSettings,
    *,
    has_devices: bool,
) -> tuple[Needs, LayoutRange]:
    """The layouts that may be chosen, and what they take. Raises `FitError`.

    What the settings name stays as it is. The rest may be chosen.
    """
    if has_devices and options.flash_attn == "auto":  # as llama.cpp decides for them
        options = msgspec.structs.replace(options, flash_attn="on")
    # Slots of a given length are what is chosen, so they have parts.
    options = msgspec.structs.replace(options, kv_unified=bool(options.kv_unified))
    given = settings.model_fields_set
    if options.n_ctx:
        whole = least = options.n_ctx // options.n_slots
    else:
        whole = _trained(estimator, path, options)
        least = min(settings.fit_ctx, whole)
    needs = Needs(estimator, path, options, (least, (least + whole) // 2, whole))
    return needs, LayoutRange(
        n_slots=options.n_slots,
        n_ctx_slot=whole,
        min_ctx_slot=least,
        cache_types=_types(needs, least, settings),
        keeps_slots="parallel" in given,
        n_gpu_layers=_layers(settings.n_gpu_layers) if "n_gpu_layers" in given else None,
    )


def _trained(estimator: Estimator, path: Path, options: LoadOptions) -> int:
    """The longest context that the model was trained for."""
    small = msgspec.structs.replace(
        options, n_slots=1, n_ctx=1, devices=NO_DEVICE, n_gpu_layers=0, draft=None
    )
    return estimator.estimate(path, [small])[0].n_ctx_train


def _types(needs: Needs, n_ctx_slot: int, settings: ServeSettings) -> tuple[str, ...]:
    """The types of cells that may be chosen. Raises `FitError` if llama.cpp refuses the first."""
    if {"cache_type_k", "cache_type_v"} & settings.model_fields_set:
        return (f"{settings.cache_type_k}/{settings.cache_type_v}",)
    first, *others = CACHE_TYPES
    needs.footprint(Layout(1, n_ctx_slot, first))
    if settings.flash_attn == "off":  # quantized values need flash attention
        return (first,)
    return (first, *(name for name in others if needs.supports(name)))


def _layers(n_gpu_layers: int) -> int | None:
    """The layers that are asked for: -1 leaves them to be chosen, -2 is all."""
    if n_gpu_layers < 0:
        return None if n_gpu_layers == -1 else _ALL_LAYERS
    return n_gpu_layers
