"""`--fit` on `serve`: settings that fit the memory which is free, and a line that says why.

What the operator gives stays. llama.cpp has the last word: it plans the model as it was chosen, on
the devices that there are. Where its plan takes more than there is, less is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config import ServeSettings
from config.units import MIB
from protocol.footprint import DeviceMemory, Footprint, PartBytes
from server.engine.config import engine_config
from server.fit.budget import Budget, this_machine
from server.fit.candidates import local_model
from server.fit.choice import Choice, Chooser, LayoutRange
from server.fit.errors import FitError
from server.fit.estimate import Estimator
from server.fit.layers import Layers, layers_of
from server.fit.layout_range import layout_range
from server.fit.needs import NO_DEVICE
from server.model.inspection import Inspector
from server.store.sizes import human_size

_MOST_PLANS = 8
"""Plans until llama.cpp and the layers agree; each is a second at most."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Settings that fit."""

    settings: ServeSettings
    lines: tuple[str, ...]
    """What was chosen and why, for the log."""
    footprint: Footprint


class Fitting:
    """Fits one model into this machine."""

    def __init__(self, estimator: Estimator, inspector: Inspector) -> None:
        self._estimator = estimator
        self._inspector = inspector

    def fitted(
        self, settings: ServeSettings, model_path: Path, draft_path: Path | None = None
    ) -> Fitted:
        """The settings with what was chosen. Raises `FitError` if nothing fits."""
        options = engine_config(settings, model_path, "INFO", draft_path)
        devices = _used(self._estimator.devices(), settings)
        budget = tight = _with_margins(devices, settings)
        layers = _layers(model_path, self._inspector)
        needs, layouts = layout_range(
            self._estimator, model_path, options, settings, has_devices=bool(devices)
        )
        for _ in range(_MOST_PLANS):
            choice = Chooser(needs.parts, layers, tight).choose(layouts)
            if not choice.fits:
                raise FitError(_refusal(choice, budget))
            changed = _changed(settings, choice, has_devices=bool(devices))
            chosen = settings.model_copy(update=changed)
            footprint = self._planned(chosen, model_path, draft_path)
            over = _over(footprint, budget, devices)
            if not any((over.host, *over.devices)):
                lines = _lines(changed, footprint, choice, budget, layouts)
                return Fitted(chosen, tuple(lines), footprint)
            tight = tight.less(over.host, over.devices)
        raise FitError(_lacks(over.host + over.device, budget))

    def _planned(
        self, settings: ServeSettings, model_path: Path, draft_path: Path | None
    ) -> Footprint:
        """llama.cpp's plan of the model with these settings. Raises `FitError`."""
        options = engine_config(settings, model_path, "INFO", draft_path)
        return self._estimator.estimate(model_path, [options])[0]


def _layers(path: Path, inspector: Inspector) -> Layers:
    model = local_model(path, inspector)
    return layers_of(model.header, model.tensors)


def _used(devices: tuple[DeviceMemory, ...], settings: ServeSettings) -> tuple[DeviceMemory, ...]:
    """The devices that the settings let compute."""
    if settings.device == NO_DEVICE or settings.n_gpu_layers == 0:
        return ()
    return tuple(one for one in devices if not settings.device or one.name in settings.device)


def _with_margins(devices: tuple[DeviceMemory, ...], settings: ServeSettings) -> Budget:
    """What is free, less what has to stay free."""
    free, margins = this_machine(devices), settings.fit_target
    if not devices:
        return Budget(max(free.host - margins[0] * MIB, 0))
    each = margins if len(margins) > 1 else margins * len(devices)
    if len(each) != len(devices):
        raise FitError(f"--fit-target has {len(each)} values, and there are {len(devices)} devices")
    pairs = zip(free.devices, each, strict=True)
    return Budget(free.host, tuple(max(one - margin * MIB, 0) for one, margin in pairs))


def _over(footprint: Footprint, budget: Budget, devices: tuple[DeviceMemory, ...]) -> Budget:
    """What the plan takes more than the budget in each place."""
    sizes = (footprint.devices.get(one.name, PartBytes()).total for one in devices)
    pairs = zip(sizes, budget.devices, strict=True)
    return Budget(
        max(footprint.host.total - budget.host, 0),
        tuple(max(size - free, 0) for size, free in pairs),
    )


def _changed(settings: ServeSettings, choice: Choice, *, has_devices: bool) -> dict[str, object]:
    """The settings that were chosen: none that the operator gave."""
    layout = choice.layout
    type_k, _, type_v = layout.cache_type.partition("/")
    chosen: dict[str, object] = {
        "ctx_size": layout.n_ctx,
        "parallel": layout.n_slots,
        "cache_type_k": type_k,
        "cache_type_v": type_v or type_k,
    }
    if has_devices:
        chosen["n_gpu_layers"] = choice.need.n_gpu_layers
    given = settings.model_fields_set
    if "ctx_size" in given and layout.n_slots == settings.parallel:
        del chosen["parallel"]  # whoever gives it divides the context
    return {name: value for name, value in chosen.items() if name not in given}


def _lines(
    changed: Mapping[str, object],
    footprint: Footprint,
    choice: Choice,
    budget: Budget,
    layouts: LayoutRange,
) -> list[str]:
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items())
    places = {"the host": footprint.host.total} | {
        name: parts.total for name, parts in footprint.devices.items()
    }
    takes = ", ".join(f"{human_size(total)} of {name}" for name, total in places.items())
    lines = [f"--fit on: chose {flags or 'nothing: all was given'}; the model will take {takes}"]
    layout = choice.layout
    size = f"of {layouts.n_ctx_slot:,}"
    if "ctx_size" not in changed:  # it was given, and slots may share it
        size = f"and {layouts.n_slots * layouts.n_ctx_slot:,}"
    wanted = f"{_slots(layouts.n_slots)} {size} {layouts.cache_types[0]} tokens"
    if (layout.n_slots, layout.n_ctx_slot) == (layouts.n_slots, layouts.n_ctx_slot):
        lines.append(f"--fit on: {wanted} fit into {_shown(budget)}")
    else:
        lines.append(f"--fit on: more does not fit into {_shown(budget)}; best were {wanted}")
    return lines


def _refusal(choice: Choice, budget: Budget) -> str:
    layout = choice.layout
    return (
        f"--fit on: not even {_slots(layout.n_slots)} of {layout.n_ctx_slot:,} tokens fit: "
        f"{_lacks(choice.lacking, budget)}"
    )


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"


def _lacks(lacking: int, budget: Budget) -> str:
    return (
        f"{human_size(lacking)} more are needed than {_shown(budget)}; take a smaller "
        "quantization, free memory, or start with --fit off"
    )


def _shown(budget: Budget) -> str:
    devices = "".join(f" and {human_size(free)} of a device" for free in budget.devices)
    return f"{human_size(budget.host)} of the host{devices}"
