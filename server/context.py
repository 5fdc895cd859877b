"""What handlers work with: what all requests share, and what answers for one model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from starlette.requests import HTTPConnection

from config import ServeSettings
from grammars.constraint import Constraint
from protocol.commands import LoraSet, SequenceSpec
from protocol.messages import BlockReport, ModelInfo, SlotChanged, SlotReport
from server.access.access_record import access_record
from server.access.answer_accounting import AnswerAccounting
from server.app_state import state_of
from server.engine.history import SequenceHistory
from server.errors import InvalidRequest, Unavailable
from server.generation.observed_generator import ObservedGenerator
from server.http.drain import Drain
from server.http.places import Places
from server.http.turns import LoopTurns
from server.kv_events.events import KvEvents
from server.model.adapters import AdapterScales
from server.model.tokenizer import Tokenizer
from server.observability.metrics import ServerMetrics
from server.templates.chat_template import ChatTemplate

_STATE_KEY = "served_by"


class Engine(Protocol):
    """What handlers may ask of the engine process, besides generation."""

    @property
    def model(self) -> ModelInfo:
        """Facts about the loaded model. Raises `Unavailable` while there is none."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and new work is taken."""
        ...

    @property
    def outage(self) -> str:
        """Why no engine can be started for now; "" while one runs or is expected."""
        ...

    @property
    def heartbeat_age(self) -> float | None:
        """Seconds since the engine's loop last ran; None before its first run."""
        ...

    @property
    def num_sequences(self) -> int:
        """Sequences that run or wait."""
        ...

    def specs(self) -> dict[int, SequenceSpec]:
        """What each sequence that isn't over computes, by its id."""
        ...

    def lora_sets(self, *, are_running: bool) -> set[LoraSet]:
        """The sets of adapters of the sequences that have a slot, or of those that have none."""
        ...

    async def end_thinking(self, name: str, tenant: str) -> str:
        """End the thinking of a tenant's answers that have this name.

        Returns why nothing was ended; "" if something was. Raises `Unavailable`.
        """
        ...

    def histories(self) -> list[SequenceHistory]:
        """The sequences that ended last, then those that wait or run."""
        ...

    async def inspect(self, max_nodes: int = 0) -> SlotReport:
        """The slots as they are between two steps, and `max_nodes` nodes of the prefix index.

        Raises `Unavailable`.
        """
        ...

    async def inspect_blocks(self) -> BlockReport:
        """The cache's blocks as they are between two steps. Raises `Unavailable`."""
        ...

    async def save_slot(self, slot: int, path: str) -> SlotChanged:
        """Write what an idle slot holds to a file. Raises `ApiError`; so do the next three."""
        ...

    async def export_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        """Write what an idle slot holds to a file in llama.cpp's format, if it has this salt."""
        ...

    async def restore_slot(self, slot: int, path: str, cache_salt: str) -> SlotChanged:
        """Fill an idle slot from a file of either format. What has no salt gets this one."""
        ...

    async def erase_slot(self, slot: int) -> SlotChanged:
        """Empty an idle slot."""
        ...


@dataclass(frozen=True, kw_only=True)
class SharedContext:
    """What a server has once, however many models it has; `AppState.context`."""

    settings: ServeSettings
    metrics: ServerMetrics
    """In a context of one model, the counts of that model."""
    drain: Drain = field(default_factory=Drain)
    plain_places: Places = field(default_factory=lambda: Places(32))
    structured_places: Places = field(default_factory=lambda: Places(8))
    """Requests that are prepared at the same time: without, and with a constraint on the answer."""
    answer_turns: LoopTurns = field(default_factory=lambda: LoopTurns(4))
    """Turns for parts of answers that take up to a millisecond each."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix time of the server's start, which `/v1/models` reports."""
    kv_events: KvEvents | None = None
    """Tells subscribers which prefixes the caches hold, if the operator wants that."""


@dataclass(frozen=True, kw_only=True)
class ServerContext(SharedContext):
    """One served model and everything that handlers need to answer for it."""

    model_name: str
    """The alias that answers carry; `/v1/models` lists it."""
    model_path: str
    """Where the file is; answers must not show it."""
    tokenizer: Tokenizer
    generator: ObservedGenerator
    engine: Engine
    chat_template: ChatTemplate
    enter_queue: Callable[[str], AbstractContextManager[None]] = lambda tenant: nullcontext()
    """Holds a place in the queue while a tenant's request is read. Entering raises `Overloaded`
    and `Unavailable`."""
    adapter_scales: AdapterScales = field(default_factory=AdapterScales)
    default_constraint: Constraint | None = None
    """The constraint of requests that bring none."""


def serve_by(connection: HTTPConnection, context: ServerContext) -> None:
    """Say which model answers this request."""
    connection.scope.setdefault("state", {})[_STATE_KEY] = context


def served_by(connection: HTTPConnection) -> ServerContext | None:
    """The context of the model that answers this request; None if the request named none."""
    chosen: ServerContext | None = connection.scope.get("state", {}).get(_STATE_KEY)
    shared = state_of(connection).context
    return shared if chosen is None and isinstance(shared, ServerContext) else chosen


def model_context(connection: HTTPConnection) -> ServerContext:
    """The context of the model that answers this request.

    Raises `InvalidRequest` if the request had to name one, and `Unavailable` if the one sleeps.
    """
    context = served_by(connection)
    if context is None and state_of(connection).pool.default is not None:
        raise Unavailable("the model isn't loaded now; a request for an answer loads it")
    if context is None:
        raise InvalidRequest("'model' is required: this server has several", param="model")
    return context


def context_of(connection: HTTPConnection) -> ServerContext:
    """The context of the model that answers this request. Raises as `model_context` does.

    Its generator checks the rights of the request's key and counts what the request costs.
    """
    context = model_context(connection)
    accounting = AnswerAccounting(
        access_record(connection.scope),
        model=context.model_name,
        aliases=context.settings.alias,
        prompt_text=partial(context.tokenizer.text, special=True),
    )
    generator = context.generator.observed_by(accounting.observe, accounting.prepare)
    return dataclasses.replace(context, generator=generator)
