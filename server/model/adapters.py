"""LoRA adapters as clients see them: numbered in the order of the flags, each with a scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def __init__(self, scales: Sequence[float] = ()) -> None:
        self.scales = tuple(scales)

    @classmethod
    def of(cls, settings: ServeSettings) -> AdapterScales:
        """The scales that the flags set."""
        scales = [1.0] * len(settings.lora) + [scale for _, scale in settings.lora_scaled]
        return cls([0.0] * len(scales) if settings.lora_init_without_apply else scales)

    def replace(self, scales: Sequence[LoraScale]) -> None:
        """Replace all scales. Raises `InvalidRequest` for an adapter that doesn't exist."""
        by_number = self._by_number(scales, "")
        self.scales = tuple(by_number.get(number, 0.0) for number in range(len(self.scales)))

    def lora_set(
        self, adapters: Sequence[AdapterInfo], scales: Sequence[LoraScale] | None
    ) -> LoraSet:
        """The adapters of a request whose field `lora` is `scales`; None means the defaults.

        Raises `InvalidRequest`.
        """
        if scales is None:
            return _lora_set(adapters, dict(enumerate(self.scales)))
        return _lora_set(adapters, self._by_number(scales, "lora."))

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


def _lora_set(adapters: Sequence[AdapterInfo], scales: Mapping[int, float]) -> LoraSet:
    """Convert numbers to digests. If the same adapter is given twice, its scales add up."""
    total: dict[str, float] = {}
    for number, scale in scales.items():
        digest = adapters[number].digest
        total[digest] = total.get(digest, 0.0) + scale
    return tuple(sorted((digest, scale) for digest, scale in total.items() if scale))
