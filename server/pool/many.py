"""The pool of a server with several models: who may use which, and who waits for which."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from config import ConfigError, ServeSettings
from server.context import ServerContext
from server.errors import (
    ApiError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from server.observability.metrics import ServerMetrics
from server.pool.engines import EngineMaker, LoadFailed
from server.pool.entries import ModelEntry
from server.pool.events import EventBoard
from server.pool.fairness import RecentPeak
from server.pool.interface import FOR_EVER, PoolEvent, PoolEventKind, ServedModel
from server.pool.jobs import Listeners, ModelJobs
from server.pool.memory import NO_MEMORY, MemoryUse
from server.pool.model import URGENT, PooledModel, Waiter
from server.pool.names import matching, no_such_model
from server.pool.policy import Decision, Limits, Phase, decide, why_never

logger = logging.getLogger("llamapack")


ALONE_SECONDS = 1.0
"""How often a model is looked at whose engine works on without a request, in the background."""


_STAYING = (Phase.LOADING, Phase.LOADED)
"""What a pinned model does that takes memory, and goes on doing so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """How a pool treats its requests."""

    most_waiting: int = 1000
    """Requests that may wait for their models."""
    wait_seconds: float = math.inf
    autoloads: bool = True
    may_exceed: bool = False
    """Whether a model that needs more memory than the limit may try, alone."""
    machine: MemoryUse = NO_MEMORY
    """All memory that there is, as far as it is known. What may exceed the limit and needs more
    than this is not downloaded."""
    default: str | None = None
    """The model of requests that name none."""
    is_strict: bool = True
    """Whether unknown names are refused, instead of meaning the default."""


DEFAULT_RULES = PoolRules()


class ManyModels:
    """A `ModelPool`. Belongs to one event loop, on which `start` is called."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, ModelEntry]],
        maker: EngineMaker,
        limits: Limits,
        rules: PoolRules = DEFAULT_RULES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` blocks, and raises `ConfigError`; it is called at once."""
        self._read = read
        self._limits = limits
        self._clamp = limits.memory if rules.may_exceed else NO_MEMORY
        self._rules = rules
        self._clock = clock
        self._events = EventBoard()
        self._models = {name: _new(entry) for name, entry in read().items()}
        listeners = Listeners(
            tell=self._tell, look=self._look, removed=self._forget, check=self._check_download
        )
        self._jobs = ModelJobs(maker, listeners, clock)
        self._peak = RecentPeak()
        self._reading = asyncio.Lock()
        self._num_reads = 0
        """Readings of the sources that have begun, without those that failed."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_deciding = False
        self._is_closed = False
        self._first_loads: list[asyncio.Task[None]] = []
        """The loads that were asked for at the start."""

    @property
    def only(self) -> ServerContext | None:
        return None

    @property
    def default(self) -> str | None:
        return self._rules.default

    @property
    def autoloads(self) -> bool:
        return self._rules.autoloads

    def start(self) -> None:
        """Load the models that are to be loaded at the start."""
        for model in self._models.values():
            if model.entry.load_on_startup:
                work, name = self._load_quietly(model), f"load {model.name} at the start"
                self._first_loads.append(asyncio.create_task(work, name=name))

    async def close(self) -> None:
        """End all engines, and all tasks. Those who wait for a model get an error."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.sleep(0)  # a job that has not begun would not end its engine
        stopping = Unavailable("the server is stopping")
        jobs = list(self._first_loads)
        for model in self._models.values():
            model.fail_all(stopping)
            if model.job is not None and model.phase is not Phase.LEAVING:
                model.job.cancel()
            if model.job is not None:
                jobs.append(model.job)
            elif model.phase is Phase.LOADED:
                jobs.append(self._jobs.unload(model))
        await asyncio.gather(*jobs, return_exceptions=True)

    def limit_devices(self, num_bytes: int) -> None:
        """From now on, models may take so many bytes of devices together; 0 is no limit."""
        memory = replace(self._limits.memory, device=num_bytes)
        self._limits = replace(self._limits, memory=memory)
        if self._rules.may_exceed:
            self._clamp = memory

    def end_answers(self, error: ApiError) -> None:
        """End all answers, and all waits for a model."""
        for model in self._models.values():
            model.fail_all(error)
            if model.engine is not None:
                model.engine.end_answers(error)

    @property
    def num_sequences(self) -> int:
        """Sequences that run or wait in all engines."""
        engines = (model.engine for model in self._models.values())
        return sum(engine.num_sequences for engine in engines if engine is not None)

    def metrics(self) -> Sequence[tuple[ServerMetrics, ServerContext | None]]:
        return [(self._models[name].metrics, self.loaded(name)) for name in sorted(self._models)]

    def models(self) -> Sequence[ServedModel]:
        now = self._clock()
        return [self._models[name].served(now) for name in sorted(self._models)]

    def entry(self, name: str) -> ModelEntry:
        """What the sources say of a model. Raises `NotFound`."""
        return self._find(name)[0].entry

    def settings_of(self, name: str) -> ServeSettings:
        return self.entry(name).settings

    def find(self, name: str) -> ServedModel:
        return self._find(name)[0].served(self._clock())

    def loaded(self, name: str) -> ServerContext | None:
        model, alias = self._find(name)
        if model.phase is not Phase.LOADED or model.engine is None:
            return None
        return model.engine.variants.get(alias, model.engine.context)

    @asynccontextmanager
    async def lease(
        self, name: str, tenant: str, keep_alive: float | None = None
    ) -> AsyncIterator[ServerContext]:
        model, alias = self._find(name)
        await self._enter(model, tenant)
        engine = model.engine
        assert engine is not None
        try:
            yield engine.variants.get(alias, engine.context)
        finally:
            self._leave(model, keep_alive)

    async def load(self, name: str) -> None:
        model, _ = self._find(name)
        model.retry_at = -math.inf
        await self._enter(model, "", since=URGENT)
        self._leave(model)

    async def unload(self, name: str) -> None:
        model, _ = self._find(name)
        if model.phase is Phase.AWAY:
            return
        model.left.clear()
        model.must_go = True
        if model.phase in (Phase.FETCHING, Phase.LOADING):
            model.fail_all(Unavailable(f"{model.name} was unloaded while it was being loaded"))
            await asyncio.sleep(0)  # a job that has not begun would never say that it ended
            if model.job is not None:
                model.job.cancel()
        self._look()
        try:
            async with asyncio.timeout(model.entry.stop_timeout):
                await model.left.wait()
        except TimeoutError:
            if model.engine is not None:
                model.engine.end_answers(Unavailable(f"{model.name} was unloaded"))
            await model.left.wait()

    def subscribe(self) -> AsyncIterator[PoolEvent]:
        return self._events.subscribe()

    def publish(self, event: PoolEvent) -> None:
        self._events.publish(event)

    async def refresh(self) -> None:
        """Raises `InvalidRequest` if the sources can't be read; then all stays as it was."""
        asked = self._num_reads
        async with self._reading:
            if self._num_reads > asked:
                return  # a reading that began after this call has ended
            self._num_reads += 1
            try:
                entries = await asyncio.to_thread(self._read)
            except ConfigError as error:
                self._num_reads -= 1
                raise InvalidRequest(f"the models stay as they were: {error}") from None
            self.take_over(entries)

    def take_over(self, entries: Mapping[str, ModelEntry]) -> None:
        """Have these models. What changed or is gone goes as soon as nobody uses it."""
        for name, entry in entries.items():
            self._renew(name, entry)
        for model in list(self._models.values()):
            if model.name not in entries:
                self._remove(model)
        self._events.publish(PoolEvent(PoolEventKind.RELOAD, "*"))
        self._look()

    def _renew(self, name: str, entry: ModelEntry) -> None:
        model = self._models.get(name)
        if model is None:
            self._models[name] = _new(entry)
        elif model.phase is Phase.AWAY and (entry != model.entry or model.failure):
            model.take_over(entry)
        elif entry != model.entry:
            model.next_entry = entry
            self._let_go(model)
        if model is not None:
            model.is_removed = False

    def _remove(self, model: PooledModel) -> None:
        model.is_removed = True
        if model.phase is Phase.AWAY:
            self._forget(model)
        else:
            self._let_go(model)

    def _let_go(self, model: PooledModel) -> None:
        """Have the model go once nobody uses it. A download for it ends now."""
        model.must_go = True
        if model.phase is Phase.FETCHING and model.job is not None:
            model.job.cancel()

    def _forget(self, model: PooledModel) -> None:
        model.fail_all(NotFound(f"there is no model {model.name!r} here any more", param="model"))
        if self._models.get(model.name) is not model:
            return
        del self._models[model.name]
        if model.job is not None:  # it was being prepared
            model.job.cancel()
        self._events.publish(PoolEvent(PoolEventKind.REMOVE, model.name))

    def _find(self, name: str) -> tuple[PooledModel, str]:
        """The model of this name, and the name among its own that is meant."""
        if not name and self._rules.default is None:
            raise InvalidRequest("'model' is required: this server has several", param="model")
        if (own := matching(name, self._models)) is not None:
            return self._models[own], own
        for model in self._models.values():
            if (alias := matching(name, model.entry.aliases)) is not None:
                return model, alias
        if self._rules.default is not None and (not name or not self._rules.is_strict):
            return self._models[self._rules.default], self._rules.default
        raise no_such_model(name, self._models)

    async def _enter(self, model: PooledModel, tenant: str, since: float | None = None) -> None:
        """Use the model, once it is loaded and not closed."""
        now = self._clock()
        if self._is_closed:
            raise Unavailable("the server is stopping")
        if model.phase is Phase.LOADED and not (model.is_closed or model.waiters or model.must_go):
            model.num_users += 1
            model.last_used = now
            self._note_peak()
            return
        self._check_may_wait(model, tenant, now)
        waiter = Waiter(tenant, now if since is None else since, _future())
        model.waiters.append(waiter)
        self._note_peak()
        self._look()
        await self._granted(model, waiter)

    async def _granted(self, model: PooledModel, waiter: Waiter) -> None:
        try:
            async with asyncio.timeout(_finite(self._rules.wait_seconds)):
                await waiter.granted
        except TimeoutError:
            self._give_up(model, waiter)
            raise Overloaded(
                f"{model.name} could not be loaded within {self._rules.wait_seconds:g} s",
                retry_after=math.ceil(min(max(model.load_seconds, 1.0), 600.0)),
                reason="model_wait",
            ) from None
        except BaseException:
            self._give_up(model, waiter)
            raise

    def _give_up(self, model: PooledModel, waiter: Waiter) -> None:
        """Whoever waited is gone, perhaps at the moment of its turn."""
        if waiter in model.waiters:
            model.waiters.remove(waiter)
        granted = waiter.granted
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            model.num_users -= 1
        self._note_peak()
        self._look()

    def _check_may_wait(self, model: PooledModel, tenant: str, now: float) -> None:
        if model.phase is Phase.AWAY and now < model.retry_at:
            raise model.not_loaded(now)
        others = [one.tenant for other in self._models.values() for one in other.waiters]
        is_first = bool(tenant) and tenant not in others
        if len(others) >= self._rules.most_waiting and not is_first:
            raise Overloaded(
                f"the server is at its limit: {len(others)} requests wait for their models",
                retry_after=math.ceil(min(max(model.load_seconds, 1.0), 600.0)),
                reason="queue_full",
            )

    def _leave(self, model: PooledModel, keep_alive: float | None = None) -> None:
        model.num_users -= 1
        model.last_used = self._clock()
        if keep_alive is not None:
            model.keep_alive = keep_alive
            model.is_pinned = model.entry.is_pinned or keep_alive == FOR_EVER
        self._note_peak()
        self._look()

    def _note_peak(self) -> None:
        models = self._models.values()
        count = sum(model.num_users + len(model.waiters) for model in models)
        self._peak.change(count, self._clock())

    def _look(self) -> None:
        """Decide soon: requests that come or go together are one decision."""
        if not (self._is_deciding or self._is_closed):
            self._is_deciding = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        self._is_deciding = False
        if self._is_closed:
            return
        for model in self._models.values():
            if model.waiters and model.need is None and model.job is None:
                self._jobs.prepare(model)
        now = self._clock()
        models = [model.facts(self._clamp) for model in self._models.values()]
        peak, spent = self._peak.at(now), self._jobs.shares.at(now)
        self._follow(decide(models, self._limits, now, peak=peak, spent=spent), now)

    def _check_download(self, model: PooledModel, need: MemoryUse) -> None:
        """Raise `LoadFailed` for a model that can never be loaded, before it is downloaded."""
        limits = self._limits
        if self._rules.may_exceed:
            limits = replace(limits, memory=self._rules.machine)
        facts = replace(model.facts(NO_MEMORY), need=need)
        pinned = [
            other.facts(NO_MEMORY)
            for other in self._models.values()
            if other.is_pinned and not other.must_go and other.phase in _STAYING
        ]
        if reason := why_never(facts, pinned, limits):
            raise LoadFailed(
                f"{reason}. It was not downloaded; `llamapack pull` downloads it all the same"
            )

    def _follow(self, decision: Decision, now: float) -> None:
        for name, reason in decision.refused.items():
            self._jobs.fail(self._models[name], LoadFailed(reason))
        for name in decision.unload:
            model = self._models[name]
            model.is_sleeping = name in decision.expired
            self._jobs.unload(model)
        for name in decision.load:
            self._jobs.load(self._models[name])
        for model in self._models.values():
            model.is_closed = model.name in decision.closed or model.must_go
            if model.phase is Phase.LOADED and not model.is_closed and model.waiters:
                model.grant_all(now)
        works_alone = any(model.busy > model.num_users for model in self._models.values())
        again = now + ALONE_SECONDS if works_alone else math.inf
        self._set_timer(min(decision.look_at, again), now)

    def _set_timer(self, when: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if math.isfinite(when):
            delay = max(when - now, 0.0) + 1e-3
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    async def _load_quietly(self, model: PooledModel) -> None:
        """Load a model that nobody waits for; the log tells of failures."""
        try:
            await self.load(model.name)
        except ApiError as error:
            logger.debug("%s is not loaded: %s", model.name, error)

    def _tell(self, model: PooledModel) -> None:
        served = model.served(self._clock())
        self._events.publish(PoolEvent(PoolEventKind.STATUS, model.name, served))


def _new(entry: ModelEntry) -> PooledModel:
    return PooledModel(entry, ServerMetrics(entry.name, entry.settings.max_queue))


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
