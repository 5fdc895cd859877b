"""The jobs that load and unload a pool's models, each with one job at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from config.units import MIB
from server.pool.engines import EngineMaker, Fetched, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.fairness import LoadShares
from server.pool.memory import NO_MEMORY, MemoryUse
from server.pool.model import PooledModel
from server.pool.policy import Phase

logger = logging.getLogger("llamapack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who hears of what the jobs do."""

    tell: Callable[[PooledModel], None]
    """The model does something else now."""
    look: Callable[[], None]
    """There may be something to decide."""
    removed: Callable[[PooledModel], None]
    """A model is away that no source names any more."""
    check: Callable[[PooledModel, MemoryUse], None]
    """A model is about to be downloaded that will take this much. Raises `LoadFailed`."""


class ModelJobs:
    """Loads and unloads models. Belongs to one event loop."""

    def __init__(
        self, maker: EngineMaker, listeners: Listeners, clock: Callable[[], float]
    ) -> None:
        self._maker = maker
        self._tell, self._look, self._removed = (
            listeners.tell,
            listeners.look,
            listeners.removed,
        )
        self._check = listeners.check
        self._clock = clock
        self.shares = LoadShares()
        """How much of the loading each tenant has had."""

    def prepare(self, model: PooledModel) -> None:
        """Have the model's files here, and find out what memory it takes."""
        self._begin(model, self._prepare(model), model.phase)

    def load(self, model: PooledModel) -> None:
        """Load the model."""
        self._begin(model, self._load(model), Phase.LOADING)

    def unload(self, model: PooledModel) -> asyncio.Task[None]:
        """Unload the model. It counts as here until its memory is free."""
        return self._begin(model, self._unload(model), Phase.LEAVING)

    def _begin(
        self, model: PooledModel, work: Coroutine[Any, Any, None], phase: Phase
    ) -> asyncio.Task[None]:
        model.job = asyncio.create_task(work, name=f"{phase.name.lower()} {model.name}")
        self._enter(model, phase)
        return model.job

    def _enter(self, model: PooledModel, phase: Phase) -> None:
        if phase is not model.phase:
            model.phase = phase
            self._tell(model)

    async def _prepare(self, model: PooledModel) -> None:
        """Nothing is decided about the model meanwhile, and it takes no memory."""
        entry, job = model.entry, asyncio.current_task()

        def note(fetched: Fetched) -> None:
            if model.job is job:  # reports of a thread may come late
                model.fetched = fetched
                self._enter(model, Phase.FETCHING)

        try:
            need = await self._maker.prepare(entry, note, partial(self._check, model))
        except LoadFailed as error:
            self.fail(model, error)
        except asyncio.CancelledError:
            self._is_away(model)
        except Exception:
            logger.exception("the memory of %s can't be estimated", model.name)
            self._is_prepared(model, entry, NO_MEMORY)
        else:
            self._is_prepared(model, entry, need)
        finally:
            self._look()

    def _is_prepared(self, model: PooledModel, entry: ModelEntry, need: MemoryUse) -> None:
        if model.must_go:
            self._is_away(model)
            return
        model.phase, model.job, model.fetched = Phase.AWAY, None, None
        if model.entry is entry:  # else the sources say something else now: prepare that
            model.need = need
        if not model.waiters:
            self._tell(model)  # else it is loaded as soon as there is room

    async def _load(self, model: PooledModel) -> None:
        """Load the model. Whatever happens, it is loaded or away at the end."""
        model.load_began = self._clock()
        model.left.clear()
        tenants = sorted({waiter.tenant for waiter in model.waiters})
        try:
            logger.info("loading %s", model.name)
            model.engine = await self._maker.make(model.entry, model.metrics)
            await model.engine.load()
            measured = await model.engine.memory()
        except LoadFailed as error:
            await self._end_engine(model, 0.0)
            self.fail(model, error)
        except asyncio.CancelledError:
            await self._end_engine(model, 0.0)
            self._is_away(model)
        except Exception:
            logger.exception("%s can't be loaded", model.name)
            await self._end_engine(model, 0.0)
            self.fail(model, LoadFailed("the server failed while it loaded the model"))
        else:
            self._is_loaded(model, measured, tenants)
        finally:
            self._look()

    def _is_loaded(self, model: PooledModel, measured: MemoryUse, tenants: list[str]) -> None:
        now = self._clock()
        model.phase, model.job, model.loaded_at, model.last_used = Phase.LOADED, None, now, now
        model.load_seconds = now - model.load_began
        model.need, model.is_sleeping = _believed(measured, model.need), False
        model.failure, model.failures, model.exit_code = "", 0, None
        self.shares.add(tenants, model.load_seconds, now)
        model.metrics.observe_load(model.load_seconds)
        logger.info(
            "ready: %s, loaded in %.1f s, %.0f MiB of memory, %.0f MiB of the device's",
            *(model.name, model.load_seconds, measured.host / MIB, measured.device / MIB),
        )
        self._tell(model)
        if not model.must_go:
            model.grant_all(now)

    async def _unload(self, model: PooledModel) -> None:
        """Unload the model. It counts as here until its memory is free."""
        if model.engine is not None and model.need is not None:
            model.need = model.need.most(await model.engine.memory())
        await self._end_engine(model, model.entry.stop_timeout)
        freed = model.need or NO_MEMORY
        logger.info(
            "%s %s: %.0f MiB of memory are free again",
            *(model.name, "sleeps" if model.is_sleeping else "is unloaded", freed.host / MIB),
        )
        model.metrics.observe_unload()
        self._is_away(model)
        self._look()

    async def _end_engine(self, model: PooledModel, seconds: float) -> None:
        engine = model.engine
        if engine is not None:
            try:
                await engine.stop(seconds)
            except Exception:
                logger.exception("the engine of %s did not end in order", model.name)
        model.engine = None

    def _is_away(self, model: PooledModel) -> None:
        model.phase, model.job, model.must_go, model.is_closed = Phase.AWAY, None, False, False
        model.fetched = None
        if model.next_entry is not None:
            model.take_over(model.next_entry)
        model.keep_alive, model.is_pinned = model.entry.keep_alive, model.entry.is_pinned
        self._tell(model)
        model.left.set()
        if model.is_removed:
            self._removed(model)

    def fail(self, model: PooledModel, error: LoadFailed) -> None:
        """Tell everybody who waits, once, and let nobody try again for a while."""
        now = self._clock()
        model.note_failure(str(error), error.exit_code, now)
        model.metrics.observe_load_failure()
        logger.error("%s can't be loaded: %s", model.name, error)
        model.fail_all(model.not_loaded(now))
        self._is_away(model)


def _believed(measured: MemoryUse, expected: MemoryUse | None) -> MemoryUse:
    """What was measured. Of a device whose driver doesn't tell, as in containers, the plan."""
    planned = 0 if expected is None else expected.device
    return MemoryUse(measured.host, measured.device or planned)
