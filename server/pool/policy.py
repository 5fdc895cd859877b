"""Decides which models to load, which to unload, and which to close for new requests.

Pure: facts and the time go in, a decision comes out. A switch costs the load of one model and, as
likely as not, another load of the model that goes. So a model in use goes only when those who wait
for another have waited for as long as that takes, or when everybody waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from config.units import MIB
from server.pool.memory import NO_MEMORY, MemoryUse

WORTH_OF_WAITING = 3.0
"""A switch is due once the waiting of all who wait for a model adds up to so many costs of it."""

SHARE_OF_COST = 0.5
"""Or once the models that would go have been idle for this share of its cost."""


MIN_TENURE = 1.0
"""Seconds that a loaded model in use has before it can be closed; the time of its load, if more."""


class Phase(Enum):
    """What a model does, as far as its memory is concerned."""

    AWAY = auto()
    FETCHING = auto()
    """Its files are being downloaded. It takes no memory yet, and how much it will is not known."""
    LOADING = auto()
    LOADED = auto()
    LEAVING = auto()


_OUTSIDE = (Phase.AWAY, Phase.FETCHING)
"""What a model does that takes no memory."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for its model."""

    tenant: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """One model at one moment. Times are seconds of one clock."""

    name: str
    phase: Phase
    need: MemoryUse = NO_MEMORY
    """What it takes, or would take."""
    load_seconds: float = 0.0
    """What its next load is expected to take."""
    is_pinned: bool = False
    num_users: int = 0
    waiting: tuple[Waiting, ...] = ()
    last_used: float = -math.inf
    loaded_at: float = -math.inf
    keep_alive: float = math.inf
    must_go: bool = False
    """Whether it goes as soon as nobody uses it, such as because its file is gone."""

    @property
    def first_wait(self) -> float:
        """Since when the first one waits; infinite if nobody does."""
        return min((one.since for one in self.waiting), default=math.inf)

    def waited(self, now: float) -> float:
        """Seconds that all who wait have waited, added up."""
        return sum(now - one.since for one in self.waiting)


@dataclass(frozen=True, slots=True)
class Limits:
    """What models may take together; 0 is no limit."""

    count: int = 0
    memory: MemoryUse = NO_MEMORY
    patience: float = math.inf
    """Seconds after which a wait goes before all others, and closes models in use."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    load: tuple[str, ...] = ()
    unload: tuple[str, ...] = ()
    expired: frozenset[str] = frozenset()
    """Those of `unload` that go because nobody asked for them for long enough."""
    closed: frozenset[str] = frozenset()
    """Loaded models that take no new requests, so that they can go."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Models that can't be loaded, and why."""
    look_at: float = math.inf
    """When to decide again, if nothing happens before."""


def decide(
    models: Sequence[ModelFacts],
    limits: Limits,
    now: float,
    *,
    peak: int = 0,
    spent: Mapping[str, float] | None = None,
) -> Decision:
    """The decision for these models.

    `peak` is the most requests that ran or waited together a moment ago. `spent` is how much of
    the server's loading each tenant has had.
    """
    return _Plan(models, limits, now, peak, spent or {}).made()


def why_never(model: ModelFacts, pinned: Sequence[ModelFacts], limits: Limits) -> str:
    """Why a model can never fit beside those that never go; "" if it can."""
    if _fit([model, *pinned], limits):
        return ""
    beside = f" beside {', '.join(m.name for m in pinned)}, which stay" if pinned else ""
    return f"it needs {_text(model.need)}{beside}; {_limit_text(limits)}"


def _fit(models: Sequence[ModelFacts], limits: Limits) -> bool:
    """Whether these models fit together."""
    limit = limits.memory
    return (
        (not limits.count or len(models) <= limits.count)
        and (not limit.host or sum(m.need.host for m in models) <= limit.host)
        and (not limit.device or sum(m.need.device for m in models) <= limit.device)
    )


def _limit_text(limits: Limits) -> str:
    memory, count = limits.memory, limits.count
    parts = [_text(memory)] if memory != NO_MEMORY else []
    return f"the limit is {' and '.join([*parts, *([f'{count} models'] if count else [])])}"


class _Plan:
    """One decision in the making."""

    def __init__(
        self,
        models: Sequence[ModelFacts],
        limits: Limits,
        now: float,
        peak: int,
        spent: Mapping[str, float],
    ) -> None:
        self._models = models
        self._limits = limits
        self._now = now
        self._spent = spent
        self._all_wait = 0 < peak <= sum(len(model.waiting) for model in models)
        self._staying = {m.name: m for m in models if m.phase not in _OUTSIDE}
        """Models whose memory is taken, and stays so."""
        self._leaving = {m.name: m for m in models if m.phase is Phase.LEAVING}
        self._load: list[str] = []
        self._unload: list[str] = []
        self._expired: set[str] = set()
        self._closed: set[str] = set()
        self._refused: dict[str, str] = {}
        self._look_at = math.inf

    def made(self) -> Decision:
        self._let_go()
        for model in self._wanted():
            if not self._make_room(model):
                break  # whoever waits longer gets the room first
        return Decision(
            tuple(self._load),
            tuple(self._unload),
            frozenset(self._expired),
            frozenset(self._closed),
            self._refused,
            self._look_at,
        )

    def _let_go(self) -> None:
        """Unload what nobody needs any more."""
        for model in self._models:
            if model.phase is not Phase.LOADED or model.num_users:
                continue
            expires = model.last_used + model.keep_alive
            if model.must_go:
                self._send_away(model)
            elif not model.waiting and expires <= self._now:
                self._send_away(model)
                self._expired.add(model.name)
            elif not model.waiting:
                self._look(expires)

    def _wanted(self) -> list[ModelFacts]:
        """Models that somebody waits for: the overdue first, then by the tenants' shares."""
        wanted = [m for m in self._models if m.phase is Phase.AWAY and m.waiting]
        return sorted(wanted, key=self._rank)

    def _rank(self, model: ModelFacts) -> tuple[bool, float, float, str]:
        overdue = self._now - model.first_wait >= self._limits.patience
        share = min(self._spent.get(one.tenant, 0.0) for one in model.waiting)
        return (not overdue, 0.0 if overdue else share, model.first_wait, model.name)

    def _make_room(self, model: ModelFacts) -> bool:
        """Load the model, or make room for it. Returns whether the next one may be looked at."""
        if self._fits(model, self._staying.values()):
            self._load.append(model.name)
            self._staying[model.name] = model
            return True
        after = [m for m in self._staying.values() if m.name not in self._leaving]
        if self._fits(model, after):
            return False  # room comes as soon as others are gone
        victims = self._victims(model, after)
        if victims is None:
            return self._refuse_if_hopeless(model)
        due = self._due_at(model, victims)
        if due > self._now:
            self._look(due)
            return True
        for victim in victims:
            if victim.num_users:
                self._closed.add(victim.name)
            else:
                self._send_away(victim)
        return False

    def _victims(self, model: ModelFacts, staying: Sequence[ModelFacts]) -> list[ModelFacts] | None:
        """Models that have to go for this one, the idle first; None if that isn't enough."""
        candidates = [m for m in staying if m.phase is Phase.LOADED and not m.is_pinned]
        candidates.sort(key=lambda m: (m.num_users > 0, m.last_used, m.name))
        left, victims = list(staying), []
        for victim in candidates:
            left.remove(victim)
            victims.append(victim)
            if self._fits(model, left):
                return _needed(victims, lambda kept: self._fits(model, (*left, *kept)))
        return None

    def _due_at(self, model: ModelFacts, victims: Sequence[ModelFacts]) -> float:
        """When the switch is worth its cost."""
        now, count = self._now, len(model.waiting)
        overdue = model.first_wait + self._limits.patience
        cost = model.load_seconds + sum(victim.load_seconds for victim in victims)
        missing = WORTH_OF_WAITING * cost - model.waited(now)
        worth = now + max(missing, 0.0) / count
        busy = [victim for victim in victims if victim.num_users]
        if busy:
            tenure = max(v.loaded_at + max(v.load_seconds, MIN_TENURE) for v in busy)
            return max(min(worth, overdue), tenure)
        idle = max(victim.last_used for victim in victims) + SHARE_OF_COST * cost
        return now if self._all_wait else min(worth, idle, overdue)

    def _refuse_if_hopeless(self, model: ModelFacts) -> bool:
        """Whether the model can never fit beside those that never go; then say so."""
        pinned = [m for m in self._staying.values() if m.is_pinned and m.name not in self._leaving]
        refusal = why_never(model, pinned, self._limits)
        if refusal:
            self._refused[model.name] = refusal
        return bool(refusal)  # else what loads or leaves now will make room

    def _fits(self, model: ModelFacts, others: Iterable[ModelFacts]) -> bool:
        return _fit([model, *others], self._limits)

    def _send_away(self, model: ModelFacts) -> None:
        self._unload.append(model.name)
        self._leaving[model.name] = model

    def _look(self, when: float) -> None:
        self._look_at = min(self._look_at, when)


def _needed(
    victims: Sequence[ModelFacts], fits: Callable[[Sequence[ModelFacts]], bool]
) -> list[ModelFacts]:
    """The victims that can't be kept; `fits` says whether there is room with some kept."""
    kept: list[ModelFacts] = []
    for victim in victims:
        if fits([*kept, victim]):
            kept.append(victim)
    return [victim for victim in victims if victim not in kept]


def _text(memory: MemoryUse) -> str:
    host = f"{memory.host / MIB:.0f} MiB of host memory"
    device = f"{memory.device / MIB:.0f} MiB of device memory"
    return f"{host} and {device}" if memory.device else host
