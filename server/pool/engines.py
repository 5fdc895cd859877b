"""What the pool needs of an engine: to make it, to wait until it has its model, to end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from server.context import ServerContext
from server.errors import ApiError
from server.observability.metrics import ServerMetrics
from server.pool.entries import ModelEntry
from server.pool.memory import MemoryUse


class LoadFailed(Exception):
    """A model could not be loaded; the message says why, and shows no folder."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a download is: bytes of the files that were begun."""

    completed: int
    total: int
    """0 while no size is known."""


class ModelEngine(Protocol):
    """An engine with one model, and what answers requests for it. Belongs to one event loop."""

    @property
    def context(self) -> ServerContext:
        """What handlers work with."""
        ...

    @property
    def variants(self) -> Mapping[str, ServerContext]:
        """The same for requests to an alias with parameters, by alias."""
        ...

    @property
    def num_sequences(self) -> int:
        """Sequences that run or wait."""
        ...

    @property
    def outage(self) -> str:
        """Why the engine is gone and can't be started again; "" while it runs or is expected."""
        ...

    async def load(self) -> None:
        """Start the engine, and wait until it has the model. Raises `LoadFailed`."""
        ...

    async def memory(self) -> MemoryUse:
        """What the engine takes now."""
        ...

    def end_answers(self, error: ApiError) -> None:
        """End every answer that runs or waits with an error."""
        ...

    async def stop(self, seconds: float) -> None:
        """End the engine, within some seconds by force; its memory is free afterwards.

        It writes prefixes to disk first, if it has a folder for them.
        """
        ...


class EngineMaker(Protocol):
    """Makes engines."""

    async def make(self, entry: ModelEntry, metrics: ServerMetrics) -> ModelEngine:
        """An engine that doesn't run yet, after the model's files were found and read.

        Raises `LoadFailed`.
        """
        ...

    async def prepare(
        self,
        entry: ModelEntry,
        told: Callable[[Fetched], None],
        check: Callable[[MemoryUse], None],
    ) -> MemoryUse:
        """What a model will take that was not loaded before, after its files are here.

        Downloads what is missing, if the settings allow it, and says how far it is. The download
        stops when the task is cancelled. Before a download, `check` gets what the model will take,
        if that can be known. Raises `LoadFailed`, and what `check` raises.
        """
        ...
