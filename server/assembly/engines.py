"""How the engines of a server start and stop: the one of one model, or those of a pool."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from config import ModelSources
from protocol.messages import ModelInfo
from server.access.key_ring import KeyRing
from server.assembly.assemble import Assembly
from server.assembly.observation import Observation
from server.assembly.pool import SHARE_OF_MEMORY, assemble_pool, device_memory
from server.catalog.facts import trained_context
from server.context import SharedContext
from server.errors import ApiError
from server.fit.errors import FitError
from server.kv_events.events import KvEvents
from server.pool.interface import ModelPool
from server.pool.one import OneModel

logger = logging.getLogger("llamapack")


class Engines(Protocol):
    """The engines of a server, and what they share. Belongs to one event loop once started."""

    @property
    def context(self) -> SharedContext:
        """What all requests share."""
        ...

    @property
    def pool(self) -> ModelPool:
        """The models."""
        ...

    @property
    def keys(self) -> KeyRing:
        """All keys that the server accepts."""
        ...

    @property
    def observation(self) -> Observation:
        """What is written down of requests."""
        ...

    @property
    def kv_events(self) -> KvEvents | None:
        """What tells routers which blocks the caches hold, if the operator wants that."""
        ...

    @property
    def first_words(self) -> str:
        """What the log says of the models at the start."""
        ...

    @property
    def num_sequences(self) -> int:
        """Sequences that run or wait."""
        ...

    async def start(self) -> None:
        """Start what runs from the beginning."""
        ...

    async def wait_ready(self) -> str:
        """Wait until requests can be answered; returns what the log says then.

        Raises `EngineFailed`.
        """
        ...

    def end_answers(self, error: ApiError) -> None:
        """End all answers with an error."""
        ...

    async def stop(self) -> None:
        """End all engines."""
        ...


class OneEngine:
    """The engine of a server with one model."""

    first_words = "loading the model"

    def __init__(self, parts: Assembly) -> None:
        self._parts = parts
        self.context: SharedContext = parts.context
        self.pool: ModelPool = OneModel(parts.context)
        self.keys = parts.keys
        self.observation = parts.observation
        self.kv_events = parts.kv_events

    @property
    def num_sequences(self) -> int:
        return self._parts.client.num_sequences

    async def start(self) -> None:
        await self._parts.process.start()

    async def wait_ready(self) -> str:
        model = await self._parts.client.wait_loaded()
        name, size = self._parts.context.model_name, model.n_params / 1e6
        slots = slots_in_words(model, trained_context(self._parts.context.tokenizer))
        return f"{name} ({model.file_type}), {size:.1f} M parameters, {slots}"

    def end_answers(self, error: ApiError) -> None:
        self._parts.client.end_streams(error)

    async def stop(self) -> None:
        await self._parts.process.stop()


def slots_in_words(model: ModelInfo, n_trained: int) -> str:
    """What a request may have, and the settings that decide it where the model could take more."""
    slots = f"{model.n_slots} slots of {model.n_ctx_slot} tokens"
    decides = "--ctx-size, --parallel and --kv-unified decide"
    if model.is_unified:
        slots = f"{model.n_slots} slots that share {model.n_ctx_slot} tokens"
        decides = "--ctx-size decides"
    if n_trained <= model.n_ctx_slot:
        return slots
    return f"{slots} (of {n_trained} that the model was trained for: {decides})"


class ManyEngines:
    """The engines of a server with several models."""

    def __init__(self, sources: ModelSources) -> None:
        """Raises `StartupError` and `ConfigError`."""
        parts = assemble_pool(sources)
        self._pool = parts.pool
        self.context = parts.context
        self.keys = parts.keys
        self.observation = parts.observation
        self.kv_events = parts.kv_events
        self._limits_devices = parts.limits_devices
        self._asking: asyncio.Task[None] | None = None

    @property
    def pool(self) -> ModelPool:
        return self._pool

    @property
    def first_words(self) -> str:
        names = [model.name for model in self._pool.models()]
        return f"serving {len(names)} models: {', '.join(names)}"

    @property
    def num_sequences(self) -> int:
        return self._pool.num_sequences

    async def start(self) -> None:
        self._pool.start()
        if not self._limits_devices:
            self._asking = asyncio.create_task(self._ask_for_devices(), name="ask for devices")

    async def _ask_for_devices(self) -> None:
        """Bound the memory of devices that the driver's own library doesn't know."""
        try:
            total = await asyncio.to_thread(device_memory)
        except FitError as error:
            logger.warning("the memory of devices is not bounded: %s", error)
        else:
            self._pool.limit_devices(int(SHARE_OF_MEMORY * total))

    async def wait_ready(self) -> str:
        default = self._pool.default
        if default is None:
            return "models are loaded when requests ask for them"
        await self._pool.load(default)
        return default

    def end_answers(self, error: ApiError) -> None:
        self._pool.end_answers(error)

    async def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await self._pool.close()
