"""How much memory a loaded model takes: bytes by part, in the host's memory and on each device."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from protocol.config import EngineConfig


class PartBytes(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of each part in one place."""

    weights: int = 0
    kv: int = 0
    """Keys and values of the cells, in windows too."""
    state: int = 0
    """Recurrent states of the slots, with their snapshots."""
    compute: int = 0
    """What one micro-batch is computed in."""
    output: int = 0
    """Logits and vectors of the rows that a batch may have with an output."""
    adapters: int = 0
    """LoRA adapters and control vectors."""
    process: int = 0
    """The engine's program and the vocabulary."""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(msgspec.structs.astuple(self))

    def __add__(self, other: PartBytes) -> PartBytes:
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return PartBytes(**dict(zip(self.__struct_fields__, map(sum, pairs), strict=True)))


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a model and its context, and of the draft model if there is one."""

    host: PartBytes
    devices: Mapping[str, PartBytes] = {}
    """By the device's name, as `--device` takes it."""
    n_ctx: int
    """Tokens of all slots together."""
    n_ctx_slot: int
    n_slots: int
    n_layers: int
    """Layers that `--n-gpu-layers` counts: the output's is one of them."""
    n_ctx_train: int
    flash_attn: str
    """ "on", "off", or "auto" where llama.cpp decides."""
    cache_bytes: int = 0
    """Host memory that saved prefixes may take besides, at most (`--cache-ram`)."""

    @property
    def device_bytes(self) -> int:
        """Bytes on all devices together."""
        return sum(parts.total for parts in self.devices.values())

    @property
    def total(self) -> int:
        """Bytes in all places together."""
        return self.host.total + self.device_bytes

    @property
    def parts(self) -> PartBytes:
        """The bytes of each part, in all places together."""
        return sum(self.devices.values(), self.host)

    def with_draft(self, draft: Footprint) -> Footprint:
        """This footprint with a draft model's, which runs in the same process."""
        names = [*self.devices, *(name for name in draft.devices if name not in self.devices)]
        none = PartBytes()
        host = msgspec.structs.replace(draft.host, process=0)
        return msgspec.structs.replace(
            self,
            host=self.host + host,
            devices={
                name: self.devices.get(name, none) + draft.devices.get(name, none) for name in names
            },
        )


class DeviceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a device, in bytes."""

    name: str
    description: str
    total: int
    free: int


class FootprintQuestion(msgspec.Struct, frozen=True):
    """The configurations whose footprints are asked for."""

    configs: tuple[EngineConfig, ...]


class FootprintAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One footprint for each configuration, or what stopped the count."""

    footprints: tuple[Footprint, ...] = ()
    devices: tuple[DeviceMemory, ...] = ()
    """The machine's devices besides the CPU."""
    error: str = ""
