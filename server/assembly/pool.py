"""Puts a server with several models together, out of what the user wrote about them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from config import ModelSources, ServeSettings
from config.units import MIB
from server.access.key_ring import KeyRing, read_keys
from server.assembly.observation import Observation, open_observation
from server.assembly.pooled_engine import PooledEngines
from server.context import SharedContext
from server.engine.machine_memory import usable_memory
from server.fit.estimate import Estimator
from server.kv_events.events import KvEvents, open_kv_events
from server.observability.process_memory import total_device_bytes
from server.pool.entries import read_entries, read_one
from server.pool.many import ManyModels, PoolRules
from server.pool.memory import MemoryUse
from server.pool.policy import Limits

SHARE_OF_MEMORY = 0.9
"""What models may take together of the machine's memory, and of its devices', unless told."""


@dataclass(frozen=True, slots=True)
class PoolAssembly:
    """All parts of a server with several models; nothing of it runs yet."""

    context: SharedContext
    keys: KeyRing
    observation: Observation
    pool: ManyModels
    kv_events: KvEvents | None
    limits_devices: bool
    """Whether the memory of devices is bounded, or there is none."""


def assemble_pool(sources: ModelSources) -> PoolAssembly:
    """A server with several models. Raises `StartupError` and `ConfigError`."""
    settings = sources.settings
    keys = KeyRing(read_keys(settings), time.monotonic())
    observation = open_observation(settings, "")
    kv_events = open_kv_events(settings, has_several=sources.are_several)
    shared = SharedContext(settings=settings, metrics=observation.metrics, kv_events=kv_events)
    rules = PoolRules(
        most_waiting=settings.max_queue,
        wait_seconds=settings.models_wait,
        autoloads=settings.models_autoload,
        may_exceed=not any(settings.models_memory),
        machine=MemoryUse(usable_memory(), total_device_bytes()),
        default=None if sources.are_several else next(iter(read_one(sources))),
        is_strict=sources.are_several or settings.strict_model,
    )
    read = partial(read_entries if sources.are_several else read_one, sources)
    limits = limits_of(settings)
    maker = PooledEngines(shared, observation, are_several=sources.are_several)
    pool = ManyModels(read, maker, limits, rules)
    knows_devices = bool(limits.memory.device) or settings.device == ("none",)
    return PoolAssembly(shared, keys, observation, pool, kv_events, knows_devices)


def device_memory() -> int:
    """Bytes of the memory of all devices, as llama.cpp sees them. Blocks. Raises `FitError`."""
    with Estimator() as estimator:
        return sum(device.total for device in estimator.devices())


def limits_of(settings: ServeSettings) -> Limits:
    """What models may take together: what the user says, else most of what there is."""
    host, device = settings.models_memory
    memory = MemoryUse(
        host * MIB or int(SHARE_OF_MEMORY * usable_memory()),
        device * MIB or int(SHARE_OF_MEMORY * total_device_bytes()),
    )
    return Limits(settings.models_max, memory, settings.models_wait / 2)
