"""Watches one engine: asks it what it holds, and adds what the API process knows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from protocol.cache_lookup import CacheLookup
from protocol.messages import CacheNode, CacheReport, ModelInfo, SlotReport, SlotState
from server.context import ServerContext
from server.engine.history import SequenceHistory
from server.errors import Unavailable
from server.model.tokenizer import Tokenizer
from server.observability.metrics import ServerMetrics
from server.room.schema import (
    CacheView,
    CellsView,
    EngineFacts,
    EngineView,
    KeyView,
    MemoryView,
    NodeView,
    PrefixesView,
    QueueView,
    RequestView,
    SlotView,
    SpeculationView,
    StepsView,
    WaitingView,
)
from server.room.speeds import Speeds

MAX_NODES = 160
"""Nodes of the prefix index that are shown: more than a picture can hold."""

ASK_SECONDS = 0.1
"""How long a look waits for the engine. A long step answers a later look."""

TURNS_BETWEEN_CACHE = 2
"""The cache is asked for at every second look: a picture that moves more often is a flicker."""

TURNS_BETWEEN_IDLE = 4
"""An idle engine is asked at every fourth look; a file may have filled a slot."""

MAX_KEYS = 50
MAX_WAITING = 32
MAX_TEXT = 48
"""Characters of a node's text."""

MAX_OWNERS = 1000
"""Salts whose key is remembered."""

NO_CACHE = CacheReport([], 0, 0, 0, 0, 0)
NO_REPORT = SlotReport(0, [], 0)


class EngineWatch:
    """What is shown of one engine. Its looks come one after the other."""

    def __init__(self, context: ServerContext, to_unix: float, *, shows_texts: bool) -> None:
        """`to_unix` makes a Unix time of a monotonic one."""
        self.context = context
        self._to_unix = to_unix
        self._shows_texts = shows_texts
        self._asking: asyncio.Task[SlotReport] | None = None
        self._turn = 0
        self._steps = -1
        self._report = NO_REPORT
        self._is_new = True
        """Whether the latest report has not been looked at."""
        self._asked = 0.0
        """When the latest report came."""
        self._cache = NO_CACHE
        self._nodes: list[NodeView] = []
        self._owners: dict[str, str] = {}
        """By salt, the key whose requests have it."""
        self._speeds = Speeds()
        self._slots: list[SlotView] = []
        self._over: dict[int, RequestView] = {}
        """The requests that are over, by their ids."""

    def look(self) -> EngineView:
        """What the engine does now, as far as it has answered."""
        histories = self.context.engine.histories()
        self._note_owners(histories)
        if self._is_new:
            self._read(histories)
        return self._view(histories)

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def ask(self) -> None:
        """Ask the engine, unless a question is open or nothing can have changed."""
        self._turn += 1
        if self._asking is None:
            if not self.context.engine.is_ready and self._report is not NO_REPORT:
                self._take(NO_REPORT)
            if not self._is_due():
                return
            wants_cache = self._turn % TURNS_BETWEEN_CACHE == 1
            question = self.context.engine.inspect(MAX_NODES if wants_cache else 0)
            self._asking = asyncio.ensure_future(question)
        await asyncio.wait((self._asking,), timeout=ASK_SECONDS)
        if self._asking.done():
            asked, self._asking = self._asking, None
            try:
                self._take(asked.result())
            except Unavailable:
                self._take(NO_REPORT)

    def _is_due(self) -> bool:
        engine, steps = self.context.engine, self.context.metrics.steps
        if not engine.is_ready:
            return False
        is_idle = not engine.num_sequences and steps == self._steps
        if is_idle and self._turn % TURNS_BETWEEN_IDLE != 1:
            return False
        if self._turn % TURNS_BETWEEN_CACHE == 1:
            self._steps = steps  # the cache is asked for once more after the last step
        return True

    def _take(self, report: SlotReport) -> None:
        self._report, self._asked, self._is_new = report, time.monotonic(), True

    def _read(self, histories: Iterable[SequenceHistory]) -> None:
        report, self._is_new = self._report, False
        keys = {history.request_id: history.tenant for history in histories}
        self._slots = [
            slot_view(state, keys.get(state.request_id or 0), self._speeds.of(state, self._asked))
            for state in report.slots
        ]
        cache = NO_CACHE if report is NO_REPORT else report.cache
        if cache is not None and cache != self._cache:
            self._cache = cache
            self._nodes = [self._node(node) for node in cache.nodes]

    def _note_owners(self, histories: Iterable[SequenceHistory]) -> None:
        for history in histories:
            if history.tenant and history.salt not in self._owners:
                self._owners[history.salt] = history.tenant
        while len(self._owners) > MAX_OWNERS:
            del self._owners[next(iter(self._owners))]

    def _view(self, histories: Sequence[SequenceHistory]) -> EngineView:
        context, metrics = self.context, self.context.metrics
        report = self._report
        in_use = sum(slot.num_cache_tokens for slot in report.slots)
        running = sum(s.num_cache_tokens for s in report.slots if s.request_id is not None)
        facts = engine_facts(context)
        return EngineView(
            facts=facts,
            slots=self._slots,
            queue=self._queue(histories),
            cells=CellsView(facts.context, running, in_use - running),
            memory=MemoryView(
                self._cache.num_bytes,
                self._cache.capacity,
                self._cache.num_saved,
                self._cache.num_checkpoints,
            ),
            prefixes=PrefixesView(self._nodes, self._cache.num_hidden_scopes),
            speculation=SpeculationView(
                tuple(context.settings.spec_type),
                metrics.drafts,
                metrics.draft_tokens,
                metrics.accepted_tokens,
                list(metrics.accepted_by_position),
            ),
            steps=steps_view(metrics),
            keys=key_views(metrics),
            requests=self._requests(histories),
        )

    def _requests(self, histories: Sequence[SequenceHistory]) -> list[RequestView]:
        """One view for each; a request that is over is looked at once."""
        views = {
            history.request_id: self._over.get(history.request_id)
            or request_view(history, self._to_unix)
            for history in histories
        }
        self._over = {one.id: one for one in views.values() if one.ended is not None}
        return list(views.values())

    def _queue(self, histories: Iterable[SequenceHistory]) -> QueueView:
        waiting = [h for h in histories if h.started is None and h.ended is None]
        return QueueView(
            waiting=len(waiting),
            waiting_tokens=sum(history.num_prompt_tokens for history in waiting),
            capacity=self.context.metrics.queue_capacity,
            preemptions=self.context.metrics.preemptions,
            first=[
                WaitingView(
                    history.request_id,
                    history.tenant or None,
                    history.num_prompt_tokens,
                    history.priority,
                    _unix(history.queued, self._to_unix) or 0.0,
                )
                for history in waiting[:MAX_WAITING]
            ],
        )

    def _node(self, node: CacheNode) -> NodeView:
        is_root = node.parent is None
        return NodeView(
            id=node.id,
            parent=node.parent,
            start=node.start,
            tokens=node.num_tokens,
            text=text_of(node.first, self.context.tokenizer) if self._shows_texts else None,
            slots=node.slots,
            saved=node.num_saved,
            from_disk=node.num_from_disk,
            checkpoints=node.num_checkpoints,
            bytes=node.num_bytes,
            hidden=node.num_hidden,
            owner=self._owners.get(node.salt) if is_root else None,
            adapters=node.has_adapters,
        )


def engine_facts(context: ServerContext) -> EngineFacts:
    """How an engine is; sizes are 0 before the model is loaded."""
    engine, model, state = context.engine, None, "loading"
    try:
        model = engine.model
        state = "ready" if engine.is_ready else "restarting"
    except Unavailable:
        state = "down" if engine.outage else state
    return EngineFacts(
        state, engine.outage, context.metrics.num_deaths, *_sizes(model), *_contexts(model)
    )


def _sizes(model: ModelInfo | None) -> tuple[str, int, int]:
    return ("", 0, 0) if model is None else (model.description, model.n_params, model.size_bytes)


def _contexts(model: ModelInfo | None) -> tuple[int, int, int, int]:
    if model is None:
        return 0, 0, 0, 0
    return model.n_slots, model.n_ctx, model.n_ctx_slot, model.cell_bytes


def slot_view(state: SlotState, key: str | None, speed: float) -> SlotView:
    """One slot; `key` is the name of the key whose request runs there."""
    return SlotView(
        id=state.slot,
        state=_slot_state(state),
        request=state.request_id,
        key=key or None,
        prompt_tokens=state.num_prompt_tokens,
        computed_tokens=state.num_prompt_tokens_computed,
        cached_tokens=state.num_cached_tokens,
        answer_tokens=state.num_generated_tokens,
        cells=state.num_cache_tokens,
        tokens_per_second=speed,
        cache=cache_view(state.lookup),
    )


def _slot_state(state: SlotState) -> str:
    if state.request_id is None:
        return "idle"
    if state.is_late:
        return "late"
    return "answer" if state.num_generated_tokens else "prompt"


def cache_view(lookup: CacheLookup | None) -> CacheView | None:
    """What the search of the cache came to; None if it was not made yet."""
    if lookup is None:
        return None
    return CacheView(
        result=lookup.result.value,
        source=lookup.tier.value if lookup.num_reused else None,
        checkpoint=lookup.has_checkpoint,
        reused=lookup.num_reused,
        shared=lookup.num_shared,
    )


def steps_view(metrics: ServerMetrics) -> StepsView:
    """The counts of steps."""
    return StepsView(
        steps=metrics.steps,
        seconds={phase: round(spent, 6) for phase, spent in metrics.phase_seconds.items()},
        mask_seconds=round(metrics.mask_seconds, 6),
        prompt_tokens=metrics.computed_tokens,
        answer_tokens=metrics.predicted_tokens,
    )


def key_views(metrics: ServerMetrics) -> list[KeyView]:
    """The keys that generated most, in the order of their tokens."""
    used = metrics.keys.items()
    most = sorted(used, key=lambda entry: entry[1].generated_tokens, reverse=True)[:MAX_KEYS]
    return [
        KeyView(key, use.requests, use.prompt_tokens, use.cached_tokens, use.generated_tokens)
        for key, use in most
    ]


def request_view(history: SequenceHistory, to_unix: float) -> RequestView:
    """One request, with the times at which it waited, started and answered."""
    return RequestView(
        id=history.request_id,
        key=history.tenant or None,
        kind="embedding" if history.is_embedding else "answer",
        state=history.outcome or _request_state(history),
        prompt_tokens=history.num_prompt_tokens,
        answer_tokens=history.num_generated_tokens,
        draft_tokens=history.num_draft_tokens,
        accepted_tokens=history.num_accepted_tokens,
        slot=history.slot,
        queued=_unix(history.queued, to_unix) or 0.0,
        started=_unix(history.started, to_unix),
        first_token=_unix(history.first_token, to_unix),
        ended=_unix(history.ended, to_unix),
        cache=cache_view(history.lookup),
    )


def _request_state(history: SequenceHistory) -> str:
    if history.started is None:
        return "waiting"
    return "prompt" if history.first_token is None else "answer"


def _unix(time: float | None, to_unix: float) -> float | None:
    return None if time is None else round(time + to_unix, 3)


def text_of(tokens: Iterable[int], tokenizer: Tokenizer) -> str:
    """How the text of the tokens begins, in one line."""
    pieces = b"".join(tokenizer.piece(token, special=True) for token in tokens)
    return pieces.decode(errors="replace")[:MAX_TEXT]
