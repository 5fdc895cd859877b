"""One model of a pool: what it does, who uses it, who waits for it."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from server.errors import NotLoaded
from server.observability.metrics import ServerMetrics
from server.pool.engines import Fetched, ModelEngine
from server.pool.entries import ModelEntry, ModelSource
from server.pool.interface import FOR_EVER, ModelState, ServedModel
from server.pool.memory import NO_MEMORY, MemoryUse
from server.pool.policy import ModelFacts, Phase, Waiting

URGENT = -math.inf
"""Since when an operator's wish to load a model waits: longer than all requests."""

FIRST_BACKOFF = 2.0
LAST_BACKOFF = 120.0
"""Seconds after the first failed load, and at most, before requests may cause another."""

BYTES_PER_SECOND = 500e6
START_SECONDS = 1.0
"""How fast a model is expected to load that was not loaded before."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits for a model."""

    tenant: str
    since: float
    granted: asyncio.Future[None]


@dataclass(eq=False)
class PooledModel:
    """Changed by the pool alone. Times are seconds of the pool's clock."""

    entry: ModelEntry
    metrics: ServerMetrics
    phase: Phase = Phase.AWAY
    engine: ModelEngine | None = None
    waiters: list[Waiter] = field(default_factory=list)
    num_users: int = 0
    keep_alive: float = FOR_EVER
    is_pinned: bool = False
    is_closed: bool = False
    """Whether new requests wait although the model is loaded."""
    is_sleeping: bool = False
    must_go: bool = False
    is_removed: bool = False
    """Whether no source names the model any more."""
    next_entry: ModelEntry | None = None
    """What the sources say of it now; taken over when it is unloaded."""
    need: MemoryUse | None = None
    """Measured, or estimated before the first load; None until it is."""
    last_used: float = -math.inf
    loaded_at: float = -math.inf
    load_began: float = -math.inf
    load_seconds: float = 0.0
    failure: str = ""
    failures: int = 0
    """Failed loads in a row."""
    retry_at: float = -math.inf
    exit_code: int | None = None
    fetched: Fetched | None = None
    """How far the download is that the model waits for."""
    job: asyncio.Task[None] | None = None
    """The load, the unload or the preparation that is under way."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the model has been unloaded or its load has ended without success."""

    def __post_init__(self) -> None:
        self.take_over(self.entry)

    @property
    def name(self) -> str:
        """Its name."""
        return self.entry.name

    def take_over(self, entry: ModelEntry) -> None:
        """Be as the sources say, from the next load on."""
        self.entry, self.next_entry, self.must_go = entry, None, False
        self.keep_alive, self.is_pinned = entry.keep_alive, entry.is_pinned
        self.need = None
        size = 0 if entry.file is None else entry.file[0]
        self.load_seconds = START_SECONDS + size / BYTES_PER_SECOND
        self.failure, self.failures, self.retry_at = "", 0, -math.inf

    def facts(self, limit: MemoryUse) -> ModelFacts:
        """What the policy looks at. It is told of no need above `limit`."""
        is_known = self.need is not None
        waiting = [Waiting(waiter.tenant, waiter.since) for waiter in self.waiters]
        return ModelFacts(
            name=self.name,
            phase=self.phase,
            need=(self.need or NO_MEMORY).at_most(limit),
            load_seconds=self.load_seconds,
            is_pinned=self.is_pinned,
            num_users=self.busy,
            waiting=tuple(waiting) if is_known or self.phase is not Phase.AWAY else (),
            last_used=self.last_used,
            loaded_at=self.loaded_at,
            keep_alive=FOR_EVER if self.is_pinned else self.keep_alive,
            must_go=self.must_go,
        )

    @property
    def busy(self) -> int:
        """Requests that use the model; what the engine still computes counts too."""
        return max(self.num_users, 0 if self.engine is None else self.engine.num_sequences)

    def grant_all(self, now: float) -> None:
        """Let all who wait use the model."""
        for waiter in self.waiters:
            if not waiter.granted.done():
                waiter.granted.set_result(None)
                self.num_users += 1
        self.waiters.clear()
        self.last_used = now

    def fail_all(self, error: Exception) -> None:
        """Tell all who wait that there is no use."""
        for waiter in self.waiters:
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
        self.waiters.clear()

    def note_failure(self, message: str, exit_code: int | None, now: float) -> None:
        """A load has failed: requests get this message until the next may be tried."""
        self.failure, self.exit_code = message, exit_code
        self.retry_at = now + min(FIRST_BACKOFF * 2**self.failures, LAST_BACKOFF)
        self.failures += 1

    def served(self, now: float) -> ServedModel:
        """The model as clients may know it."""
        is_here = self.phase in (Phase.LOADED, Phase.LEAVING)
        expires = self.last_used + self.keep_alive
        ends = is_here and not self.is_pinned and math.isfinite(expires)
        loaded = is_here and math.isfinite(self.loaded_at)
        return ServedModel(
            name=self.name,
            aliases=self.entry.aliases,
            path=self._path(),
            state=self._state(),
            failure=self.failure or self._outage(),
            memory=self._memory(),
            is_pinned=self.is_pinned,
            keep_alive=FOR_EVER if self.is_pinned else self.keep_alive,
            expires_at=_unix(expires, now) if ends else None,
            last_used=_unix(self.last_used, now) if math.isfinite(self.last_used) else None,
            loaded_at=_unix(self.loaded_at, now) if loaded else None,
            parameters=self.entry.parameters,
            tags=self.entry.settings.tags,
            progress=self._progress(now),
            exit_code=self.exit_code,
            num_users=self.busy,
            arguments=self.entry.arguments,
            source=self.entry.source.value,
            can_remove=self.entry.source is ModelSource.CACHE,
        )

    def not_loaded(self, now: float) -> NotLoaded:
        """What requests are told after a failed load."""
        seconds = math.ceil(max(self.retry_at - now, 1.0))
        return NotLoaded(f"{self.name} can't be loaded: {self.failure}", retry_after=seconds)

    def _memory(self) -> MemoryUse | None:
        """What it takes, as far as that is known: of what is being downloaded, the files' size."""
        if self.need is not None or self.fetched is None:
            return self.need
        return MemoryUse(self.fetched.total) if self.fetched.total else None

    def _outage(self) -> str:
        return "" if self.engine is None else self.engine.outage

    def _path(self) -> str:
        if self.entry.path is not None:
            return str(self.entry.path)
        return "" if self.engine is None else self.engine.context.model_path

    def _state(self) -> ModelState:
        match self.phase:
            case Phase.FETCHING | Phase.LOADING:
                return ModelState.LOADING
            case Phase.LEAVING:
                return ModelState.UNLOADING
            case Phase.LOADED:
                return ModelState.FAILED if self._outage() else ModelState.LOADED
        if self.failure:
            return ModelState.FAILED
        return ModelState.SLEEPING if self.is_sleeping else ModelState.UNLOADED

    def _progress(self, now: float) -> float | None:
        """The part of the download, or of the expected time of the load, that is over."""
        if self.phase is Phase.FETCHING and self.fetched is not None:
            return min(self.fetched.completed / max(self.fetched.total, 1), 0.99)
        if self.phase is not Phase.LOADING:
            return None
        return min((now - self.load_began) / max(self.load_seconds, 1e-3), 0.99)


def _unix(moment: float, now: float) -> float:
    return time.time() + (moment - now)
