"""A pool of several models on fakes: which are loaded, and what was asked of it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette

from config import ServeSettings
from server.access.key_ring import KeyRing
from server.app import create_app
from server.context import ServerContext, SharedContext
from server.observability.metrics import ServerMetrics
from server.pool.events import EventBoard
from server.pool.interface import MemoryUse, ModelState, PoolEvent, ServedModel
from server.pool.names import matching, no_such_model
from tests.support.fake_server import FakeServer, make_server


@dataclass
class FakePool:
    """A `ModelPool` whose models load at once and stay until they are unloaded."""

    servers: dict[str, FakeServer]
    paths: dict[str, str] = field(default_factory=dict)
    in_memory: set[str] = field(default_factory=set)
    asked: list[tuple[str, float | None]] = field(default_factory=list)
    """The leases: the names as they were given, and how long the models are to stay."""
    downloads: set[str] = field(default_factory=set)
    """The models whose files clients may remove."""
    refreshed: int = 0
    on_refresh: Callable[[], None] = lambda: None
    """Reads what lies on the disk, for tests that change it."""
    events: EventBoard = field(default_factory=EventBoard)
    only: ServerContext | None = None
    autoloads: bool = True
    default: str | None = None

    def loaded(self, name: str) -> ServerContext | None:
        found = self.find(name).name
        return self.servers[found].context if found in self.in_memory else None

    def metrics(self) -> Sequence[tuple[ServerMetrics, ServerContext | None]]:
        return [(server.context.metrics, server.context) for server in self.servers.values()]

    def models(self) -> Sequence[ServedModel]:
        return [self._served(name) for name in sorted(self.servers)]

    def find(self, name: str) -> ServedModel:
        found = matching(name, self.servers)
        if found is None:
            raise no_such_model(name, self.servers)
        return self._served(found)

    def settings_of(self, name: str) -> ServeSettings:
        return self.servers[self.find(name).name].context.settings

    @asynccontextmanager
    async def lease(
        self, name: str, tenant: str, keep_alive: float | None = None
    ) -> AsyncIterator[ServerContext]:
        self.asked.append((name, keep_alive))
        found = self.find(name).name
        self.in_memory.add(found)
        yield self.servers[found].context

    async def load(self, name: str) -> None:
        self.in_memory.add(self.find(name).name)

    async def unload(self, name: str) -> None:
        self.in_memory.discard(self.find(name).name)

    def subscribe(self) -> AsyncIterator[PoolEvent]:
        return self.events.subscribe()

    def publish(self, event: PoolEvent) -> None:
        self.events.publish(event)

    async def refresh(self) -> None:
        self.refreshed += 1
        self.on_refresh()

    def _served(self, name: str) -> ServedModel:
        is_loaded = name in self.in_memory
        return ServedModel(
            name=name,
            path=self.paths.get(name, f"/models/{name}.gguf"),
            state=ModelState.LOADED if is_loaded else ModelState.UNLOADED,
            memory=MemoryUse(host=3000, device=1000) if is_loaded else None,
            expires_at=2_000_000_000.5 if is_loaded else None,
            can_remove=name in self.downloads,
        )


def make_pool(*names: str) -> FakePool:
    """A pool of unloaded models of these names."""
    servers = {}
    for name in names:
        server = make_server()
        metrics = ServerMetrics(name)
        server.context = dataclasses.replace(server.context, model_name=name, metrics=metrics)
        servers[name] = server
    return FakePool(servers)


def pool_app(
    pool: FakePool, settings: ServeSettings | None = None, keys: KeyRing | None = None
) -> Starlette:
    """The application for these models."""
    shared = SharedContext(settings=settings or ServeSettings(), metrics=ServerMetrics(""))
    return create_app(shared, pool, keys=keys)
