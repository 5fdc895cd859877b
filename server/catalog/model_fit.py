"""What a model would take of memory, and whether that fits beside the models that are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from confined.work import Work, working_for
from protocol.config import EngineConfig
from protocol.footprint import DeviceMemory, Footprint
from server.engine.machine_memory import usable_memory
from server.errors import InvalidRequest, Overloaded
from server.fit.budget import free_host_bytes
from server.fit.errors import FitError
from server.fit.estimate import Estimator
from server.pool.interface import ModelState, ServedModel
from server.pool.memory import NO_MEMORY, MemoryUse

MOST_WAITING = 8
"""Questions that wait while one is answered: each takes about a second of a core."""

RETRY_SECONDS = 5

_IN_MEMORY = (ModelState.LOADED, ModelState.LOADING, ModelState.UNLOADING)


class Verdict(StrEnum):
    """Whether a model fits."""

    BESIDE = "beside"
    """Beside the models that are loaded."""
    INSTEAD = "instead"
    """Once some of them are unloaded."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that there is, in bytes."""

    free: MemoryUse
    """What the machine has left now."""
    total: MemoryUse
    taken: MemoryUse
    """What the other loaded models take."""
    own: MemoryUse = NO_MEMORY
    """What the model itself takes now."""


@dataclass(frozen=True, slots=True)
class ModelFit:
    """What a model would take, and how that fits."""

    footprint: Footprint
    room: Room

    @property
    def need(self) -> MemoryUse:
        """Bytes that the model takes once it is loaded, without saved prefixes."""
        return MemoryUse(self.footprint.host.total, self.footprint.device_bytes)

    @property
    def lacking(self) -> MemoryUse:
        """Bytes that are missing beside the loaded models."""
        return _less(self.need, self._left)

    @property
    def verdict(self) -> Verdict:
        """Whether the model fits."""
        if self.lacking == NO_MEMORY:
            return Verdict.BESIDE
        emptied = _least(_sum(self._left, self.room.taken), self.room.total)
        return Verdict.INSTEAD if _less(self.need, emptied) == NO_MEMORY else Verdict.NO

    @property
    def _left(self) -> MemoryUse:
        """What the model may take without anything else going."""
        room = self.room
        return _least(_sum(room.free, room.own), _less(room.total, room.taken))


def room_for(
    served: ServedModel, models: Sequence[ServedModel], devices: Sequence[DeviceMemory]
) -> Room:
    """The memory that there is for a model now."""
    inside = [one for one in models if one.state in _IN_MEMORY and one.memory is not None]
    taken = NO_MEMORY
    for one in inside:
        if one.name != served.name:
            taken = _sum(taken, one.memory or NO_MEMORY)
    own = next((one.memory for one in inside if one.name == served.name), None)
    return Room(
        MemoryUse(free_host_bytes(), sum(device.free for device in devices)),
        MemoryUse(usable_memory(), sum(device.total for device in devices)),
        taken,
        own or NO_MEMORY,
    )


Plan = tuple[Footprint, tuple[DeviceMemory, ...]]
"""What a model takes, and the devices that there are."""


class FitDesk:
    """Answers what models take, one question at a time. Belongs to an event loop."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(1)
        self._num_asked = 0

    async def plan(self, path: Path, options: EngineConfig, tenant: str = "") -> Plan:
        """llama.cpp's plan of a file, and the machine's devices, from a confined process.

        Being cancelled ends the process. Raises `Overloaded`, and `InvalidRequest` for what can't
        be planned.
        """
        if self._num_asked > MOST_WAITING:
            raise Overloaded("too many ask what fits; try again later", retry_after=RETRY_SECONDS)
        self._num_asked += 1
        work = Work(tenant)
        with working_for(work):
            call = partial(_plan, path, options)
            thread = asyncio.ensure_future(to_thread.run_sync(call, limiter=self._limiter))
        thread.add_done_callback(self._leave)
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            work.cancel()
            raise
        except FitError as error:
            text = str(error).replace(f"{path.parent}/", "")  # nobody learns where files are
            raise InvalidRequest(text, param="model") from None

    def _leave(self, thread: asyncio.Future[Plan]) -> None:
        self._num_asked -= 1
        if not thread.cancelled():
            thread.exception()  # it was told to the client, if the client is there


def _plan(path: Path, options: EngineConfig) -> Plan:
    with Estimator() as estimator:
        return estimator.plan(path, options)


def _sum(one: MemoryUse, other: MemoryUse) -> MemoryUse:
    return MemoryUse(one.host + other.host, one.device + other.device)


def _less(one: MemoryUse, other: MemoryUse) -> MemoryUse:
    return MemoryUse(max(one.host - other.host, 0), max(one.device - other.device, 0))


def _least(one: MemoryUse, other: MemoryUse) -> MemoryUse:
    return MemoryUse(min(one.host, other.host), min(one.device, other.device))
