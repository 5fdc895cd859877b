"""LoRA adapters as clients see them: numbered in the order of the flags, each with a scale and a
name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, RootModel, StrictFloat, StrictInt

from config import ServeSettings
from protocol.commands import LoraSet
from protocol.messages import AdapterInfo
from server.bodies.bounds import ADAPTERS
from server.bodies.request_model import RequestModel
from server.errors import InvalidRequest

MAX_SCALE = 1e6


class LoraScale(RequestModel):
    """The scale of one adapter; adapters that a list leaves out have scale 0."""

    id: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
    scale: Annotated[StrictInt | StrictFloat, Field(ge=-MAX_SCALE, le=MAX_SCALE)]


class LoraScales(RootModel[Annotated[list[LoraScale], Field(max_length=ADAPTERS.most)]]):
    """The body of `POST /lora-adapters`."""


class AdapterScales:
    """The scales of requests that bring none.

    Only the API process knows these scales, so a restart of the engine doesn't change them.
    """

    def __init__(
        self,
        scales: Sequence[float] = (),
        names: Sequence[str] = (),
        own_scales: Sequence[float] = (),
    ) -> None:
        """All have one entry for each adapter. A request that chooses an adapter by its name gets
        it with its own scale."""
        self.scales = tuple(scales)
        self.names = tuple(names)
        self._own_scales = tuple(own_scales)
        self.on_change: Callable[[], None] = lambda: None
        """Called when the scales are others."""

    @classmethod
    def of(cls, settings: ServeSettings) -> AdapterScales:
        """The scales that the flags set."""
        paths = [*settings.lora, *(path for path, _ in settings.lora_scaled)]
        own = [1.0] * len(settings.lora) + [scale for _, scale in settings.lora_scaled]
        scales = [0.0] * len(own) if settings.lora_init_without_apply else own
        return cls(scales, _names(paths), own)

    def replace(self, scales: Sequence[LoraScale]) -> None:
        """Replace all scales. Raises `InvalidRequest` for an adapter that doesn't exist."""
        by_number = self._by_number(scales, "")
        self.scales = tuple(by_number.get(number, 0.0) for number in range(len(self.scales)))
        self.on_change()

    def lora_set(
        self,
        adapters: Sequence[AdapterInfo],
        scales: Sequence[LoraScale] | None,
        name: str | None = None,
    ) -> LoraSet:
        """The adapters of a request whose field `lora` is `scales`. Without it, an adapter that
        `name` names is alone; else the defaults hold.

        Raises `InvalidRequest`.
        """
        if scales is not None:
            return _lora_set(adapters, self._by_number(scales, "lora."))
        if name in self.names:
            number = self.names.index(name)
            return _lora_set(adapters, {number: self._own_scales[number]})
        return _lora_set(adapters, dict(enumerate(self.scales)))

    def name_of(self, adapters: Sequence[AdapterInfo], lora: LoraSet) -> str | None:
        """The name by which requests get this set; None if they get it without a name.

        A set that no name stands for is described by its adapters and scales.
        """
        if lora == self.lora_set(adapters, None):
            return None
        for name in self.names:
            if lora == self.lora_set(adapters, None, name):
                return name
        entries = lora_json(adapters, lora)
        return "+".join(f"{self.names[e['id']]}:{e['scale']:g}" for e in entries) or "no adapter"

    def _by_number(self, scales: Sequence[LoraScale], prefix: str) -> dict[int, float]:
        found: dict[int, float] = {}
        for index, one in enumerate(scales):
            param = f"{prefix}{index}.id"
            if one.id >= len(self.scales):
                message = f"'{param}': there is no adapter {one.id}, {len(self.scales)} are loaded"
                raise InvalidRequest(message, param=param)
            if one.id in found:
                raise InvalidRequest(f"'{param}' names adapter {one.id} again", param=param)
            found[one.id] = float(one.scale)
        return found


def lora_json(adapters: Sequence[AdapterInfo], lora: LoraSet) -> list[dict[str, Any]]:
    """A set as a list of numbers and scales. If several files have equal content, the first is
    named."""
    digests = [adapter.digest for adapter in adapters]
    entries = [{"id": digests.index(d), "scale": scale} for d, scale in lora if d in digests]
    return sorted(entries, key=lambda entry: entry["id"])


def _names(paths: Iterable[Path]) -> list[str]:
    """The stems of the files. A stem that is taken gets a number."""
    names: list[str] = []
    for path in paths:
        name, count = path.stem, 2
        while name in names:
            name, count = f"{path.stem}-{count}", count + 1
        names.append(name)
    return names


def _lora_set(adapters: Sequence[AdapterInfo], scales: Mapping[int, float]) -> LoraSet:
    """Convert numbers to digests. If the same adapter is given twice, its scales add up."""
    total: dict[str, float] = {}
    for number, scale in scales.items():
        digest = adapters[number].digest
        total[digest] = total.get(digest, 0.0) + scale
    return tuple(sorted((digest, scale) for digest, scale in total.items() if scale))
