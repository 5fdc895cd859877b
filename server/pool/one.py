"""The pool of a server with one model, which is loaded at the start and never goes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from config import ServeSettings
from server.context import ServerContext
from server.errors import NotSupported, Unavailable
from server.observability.metrics import ServerMetrics
from server.observability.process_memory import resident_bytes
from server.pool.events import EventBoard
from server.pool.interface import MemoryUse, ModelState, PoolEvent, PoolEventKind, ServedModel
from server.pool.names import matching, names_of, no_such_model


class OneModel:
    """A `ModelPool` of one model. The server's runtime starts and stops its engine."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._events = EventBoard()
        self._last_used: float | None = None

    @property
    def only(self) -> ServerContext | None:
        return self._context

    @property
    def default(self) -> str | None:
        return self._context.model_name

    @property
    def autoloads(self) -> bool:
        return True

    def loaded(self, name: str) -> ServerContext | None:
        self.find(name)
        return self._context if self._context.engine.is_ready else None

    def metrics(self) -> Sequence[tuple[ServerMetrics, ServerContext | None]]:
        return [(self._context.metrics, self._context)]

    def models(self) -> Sequence[ServedModel]:
        return (self._served(),)

    def find(self, name: str) -> ServedModel:
        context = self._context
        known = names_of(context.model_name, context.settings.alias, context.model_path)
        if matching(name, known) is None:
            raise no_such_model(name, [context.model_name])
        return self._served()

    def settings_of(self, name: str) -> ServeSettings:
        self.find(name)
        return self._context.settings

    @asynccontextmanager
    async def lease(
        self, name: str, tenant: str, keep_alive: float | None = None
    ) -> AsyncIterator[ServerContext]:
        """`keep_alive` has no effect: the model never goes."""
        if self._context.settings.strict_model:
            self.find(name)
        _ = self._context.engine.model
        self._last_used = time.time()
        yield self._context

    async def load(self, name: str) -> None:
        """Returns at once if the model is loaded. Raises `NotFound` and `Unavailable`."""
        self.find(name)
        _ = self._context.engine.model

    async def unload(self, name: str) -> None:
        self.find(name)
        raise NotSupported("this server was started for one model, which stays; stop the server")

    def subscribe(self) -> AsyncIterator[PoolEvent]:
        return self._events.subscribe()

    def publish(self, event: PoolEvent) -> None:
        self._events.publish(event)

    async def refresh(self) -> None:
        """The one model stays the one model."""
        self._events.publish(PoolEvent(PoolEventKind.RELOAD, "*"))

    def _served(self) -> ServedModel:
        context = self._context
        is_up = context.engine.is_ready
        pid = context.metrics.engine_pid()
        return ServedModel(
            name=context.model_name,
            aliases=context.settings.alias,
            path=context.model_path,
            state=self._state(),
            failure=context.engine.outage,
            memory=MemoryUse(host=resident_bytes(pid)) if is_up and pid is not None else None,
            is_pinned=True,
            last_used=self._last_used,
            loaded_at=float(context.created) if is_up else None,
            tags=context.settings.tags,
            num_users=context.engine.num_sequences,
        )

    def _state(self) -> ModelState:
        engine = self._context.engine
        if engine.outage:
            return ModelState.FAILED
        try:
            _ = engine.model
        except Unavailable:
            return ModelState.LOADING
        return ModelState.LOADED
