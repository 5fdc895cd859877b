"""Engines of a pool without processes: they load, take memory and end as a test says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from config import ServeSettings
from server.context import ServerContext
from server.errors import ApiError
from server.generation.observed_generator import ObservedGenerator
from server.observability.answer_metrics import AnswerMetrics
from server.observability.metrics import ServerMetrics
from server.pool.engines import Fetched, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.many import ManyModels, PoolRules
from server.pool.memory import MemoryUse
from server.pool.policy import Limits
from tests.support.fake_server import make_server

MIB = 1 << 20


@dataclass
class FakeModelEngine:
    """One engine of a `FakeEngines`."""

    maker: FakeEngines
    name: str
    context: ServerContext
    variants: Mapping[str, ServerContext]
    num_sequences: int = 0
    outage: str = ""
    ended: asyncio.Future[ApiError] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """What ended its answers."""

    async def load(self) -> None:
        self.maker.events.append(f"load {self.name}")
        self.maker.running += 1
        self.maker.most_running = max(self.maker.most_running, self.maker.running)
        await asyncio.sleep(self.maker.load_seconds.get(self.name, 1.0))
        if failure := self.maker.failures.get(self.name):
            raise LoadFailed(failure, 1)

    async def memory(self) -> MemoryUse:
        return self.maker.needs.get(self.name, MemoryUse(100 * MIB))

    def end_answers(self, error: ApiError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    async def stop(self, seconds: float) -> None:
        await asyncio.sleep(self.maker.stop_seconds)
        self.maker.running -= 1
        self.maker.events.append(f"stop {self.name}")


@dataclass
class FakeEngines:
    """An `EngineMaker`, and what its engines did."""

    load_seconds: dict[str, float] = field(default_factory=dict)
    stop_seconds: float = 0.1
    needs: dict[str, MemoryUse] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """By name: why the model can't be loaded."""
    missing: dict[str, str] = field(default_factory=dict)
    """By name: why its files can't be read."""
    downloads: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By name: the bytes and the seconds of a download, whose size is known after its first half.
    """
    foreseen: dict[str, MemoryUse] = field(default_factory=dict)
    """By name: what is known of the model's memory before its download."""
    downloaded: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    engines: dict[str, FakeModelEngine] = field(default_factory=dict)
    running: int = 0
    most_running: int = 0

    async def make(self, entry: ModelEntry, metrics: ServerMetrics) -> FakeModelEngine:
        await asyncio.sleep(0)
        if entry.name in self.missing:
            raise LoadFailed(self.missing[entry.name])
        context = _context(entry.settings, metrics)
        variants = {name: _context(own, metrics) for name, own in entry.variants.items()}
        engine = FakeModelEngine(self, entry.name, context, variants)
        self.engines[entry.name] = engine
        return engine

    async def prepare(
        self,
        entry: ModelEntry,
        told: Callable[[Fetched], None],
        check: Callable[[MemoryUse], None],
    ) -> MemoryUse:
        await asyncio.sleep(0)
        size, seconds = self.downloads.get(entry.name, (0, 0.0))
        if seconds and entry.name not in self.downloaded:
            if entry.name in self.foreseen:
                check(self.foreseen[entry.name])
            self.events.append(f"fetch {entry.name}")
            for completed in (0, size // 2):
                told(Fetched(completed, size if completed else 0))
                await asyncio.sleep(seconds / 2)
            self.downloaded.add(entry.name)
        if entry.name in self.missing:
            raise LoadFailed(self.missing[entry.name])
        return self.needs.get(entry.name, MemoryUse(100 * MIB))

    @property
    def num_loads(self) -> int:
        """Loads that were begun."""
        return sum(event.startswith("load") for event in self.events)


def _context(settings: ServeSettings, metrics: ServerMetrics) -> ServerContext:
    server = make_server(settings)
    return dataclasses.replace(
        server.context,
        model_name=settings.alias[0],
        metrics=metrics,
        generator=ObservedGenerator(server.generator, [partial(AnswerMetrics, metrics)]),
    )


def entry(name: str, **fields: object) -> ModelEntry:
    """A model without a file."""
    values = {"settings": ServeSettings(alias=(name,)), **fields}
    return ModelEntry(name=name, **values)  # type: ignore[arg-type]


def pool_of(
    entries: list[ModelEntry],
    maker: FakeEngines,
    limits: Limits | None = None,
    *,
    clock: Callable[[], float] | None = None,
    wait_seconds: float = 1000.0,
    most_waiting: int = 10_000,
    machine: MemoryUse | None = None,
) -> ManyModels:
    """A pool of these models; made within a running loop.

    With `machine`, which is all memory there is, one model alone may need more than the limit.
    """
    return ManyModels(
        lambda: {one.name: one for one in entries},
        maker,
        limits or Limits(count=2, patience=wait_seconds / 2),
        PoolRules(
            wait_seconds=wait_seconds,
            most_waiting=most_waiting,
            may_exceed=machine is not None,
            machine=machine or MemoryUse(),
        ),
        clock or asyncio.get_running_loop().time,
    )
