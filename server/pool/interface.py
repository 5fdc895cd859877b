"""What the rest of the server knows of its models, whether it has one or many."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from config import ServeSettings
from server.context import ServerContext
from server.observability.metrics import ServerMetrics
from server.pool.memory import MemoryUse as MemoryUse

FOR_EVER = math.inf
"""The `keep_alive` of a model that no lack of requests unloads."""


class ModelState(StrEnum):
    """What a model does.

    unloaded ── loading ─┬─ loaded ── unloading ── unloaded, sleeping
       │                 └─ failed
       └─ (failed, sleeping: as unloaded; the next request loads)
    """

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    SLEEPING = "sleeping"
    """Unloaded because nobody asked for it for a while."""
    FAILED = "failed"
    """The last load failed; `ServedModel.failure` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One model as it stands now. Times are Unix times, durations are seconds."""

    name: str
    aliases: tuple[str, ...] = ()
    path: str
    """Where the file is; answers must not show its folder. "" while it isn't downloaded."""
    state: ModelState
    failure: str = ""
    """Why the last load failed; "" if it did not."""
    memory: MemoryUse | None = None
    """What the model takes: measured while it is loaded, else as measured or estimated before.
    While it is downloaded, the size of its files. None: nobody knows yet."""
    is_pinned: bool = False
    """Whether nothing but a request to unload it makes the model go."""
    keep_alive: float = FOR_EVER
    """How long the model stays without a request."""
    expires_at: float | None = None
    """When the model goes, if no request comes. None: never, or it isn't loaded."""
    last_used: float | None = None
    loaded_at: float | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    """The settings that are the model's own, by the names of their TOML keys."""
    tags: tuple[str, ...] = ()
    progress: float | None = None
    """The share of the download or load that is done, from 0 to 1; None unless there is one."""
    exit_code: int | None = None
    """How the engine ended whose load failed, if it ended by itself."""
    num_users: int = 0
    """Requests that use the model now."""
    arguments: tuple[str, ...] = ()
    """The model's own settings as flags of the command; answers may show them to admins."""
    source: str = "preset"
    """Who names the model, in llama-server's words: preset, models_dir or cache."""
    can_remove: bool = False
    """Whether the file is a download, which clients with the right may remove."""

    @property
    def names(self) -> frozenset[str]:
        """All names under which the model is known."""
        return frozenset((self.name, *self.aliases))


class PoolEventKind(StrEnum):
    """What happened; the values are llama-server's names of events."""

    STATUS = "model_status"
    RELOAD = "models_reload"
    REMOVE = "model_remove"
    DOWNLOAD_PROGRESS = "download_progress"
    DOWNLOAD_FINISHED = "download_finished"
    DOWNLOAD_FAILED = "download_failed"


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """Something that happened to a model; of all models if `model` is "*"."""

    kind: PoolEventKind
    model: str
    served: ServedModel | None = None
    """The model after the event, where there is one."""
    data: Mapping[str, object] = field(default_factory=dict)
    """Further facts in JSON's types, such as the bytes of a download."""


class ModelPool(Protocol):
    """All models of a server. Belongs to one event loop."""

    @property
    def only(self) -> ServerContext | None:
        """What answers every request on a server with one model; None if requests choose."""
        ...

    @property
    def default(self) -> str | None:
        """The model of requests that name none of the models; None if there is no such model.

        It is the name of a single model that sleeps when nobody asks for it.
        """
        ...

    @property
    def autoloads(self) -> bool:
        """Whether a request for a model loads it."""
        ...

    def loaded(self, name: str) -> ServerContext | None:
        """The model of this name, without using it; None unless it is loaded.

        Raises `NotFound`.
        """
        ...

    def metrics(self) -> Sequence[tuple[ServerMetrics, ServerContext | None]]:
        """The counts of each model, and its context while it is loaded."""
        ...

    def models(self) -> Sequence[ServedModel]:
        """All models, in the order of their names."""
        ...

    def find(self, name: str) -> ServedModel:
        """The model of this name. Raises `NotFound`.

        Aliases are names too, and `:latest` at the end of a name may be left out or added.
        """
        ...

    def settings_of(self, name: str) -> ServeSettings:
        """The settings with which the model of this name is loaded. Raises `NotFound`."""
        ...

    def lease(
        self, name: str, tenant: str, keep_alive: float | None = None
    ) -> AbstractAsyncContextManager[ServerContext]:
        """The model of this name, loaded; it stays loaded until the block is left.

        Waits until it is the turn of the model and of the tenant. `keep_alive` is for how long
        the model stays afterwards; None leaves the model's own. Entering raises `NotFound`,
        `Overloaded`, `Unavailable` and `EngineFailed`.

        On a server with one model that isn't strict, any name is the name of that model.
        """
        ...

    async def load(self, name: str) -> None:
        """Load a model, and wait until it is loaded. Raises what entering a lease raises."""
        ...

    async def unload(self, name: str) -> None:
        """Unload a model, and wait until its memory is free. Running answers end first.

        Raises `NotFound`, and `NotSupported` on a server with one model.
        """
        ...

    def subscribe(self) -> AsyncIterator[PoolEvent]:
        """What happens from this call on. A reader that is too slow misses events."""
        ...

    def publish(self, event: PoolEvent) -> None:
        """Tell all subscribers, such as of a download that others do."""
        ...

    async def refresh(self) -> None:
        """Read folders and presets again. A model whose file is gone goes, once it is idle."""
        ...
