"""Sequences, engines on the fake backend, and the outcomes of requests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from protocol.commands import AddRequest
from protocol.config import CheckpointConfig
from protocol.context_window import Window
from protocol.events import EmbeddedEvent, Event, Finished, FinishReason, Generated, Scored, Started
from protocol.messages import EmbeddingInfo, StepOutputs
from protocol.sampling import SamplingParams
from scheduler.backends.base import DecodeError, Preparation
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CacheEdit, CopyPrefix, Restore, Save, Shift, Trim
from scheduler.core.cache_scope import CacheScope
from scheduler.core.context_limits import ContextLimits
from scheduler.core.host_memory import HostMemory
from scheduler.core.results import Sample, SampledRun
from scheduler.core.sequence import Sequence, Slot
from scheduler.core.step import Step
from scheduler.engine.calibration import UNKNOWN_COSTS, Costs
from scheduler.engine.engine import Engine
from scheduler.engine.mask_threads import Masks
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.host_cache import Checkpoint
from scheduler.kv_cache.placement import CacheHolder
from scheduler.policy.scheduler import Scheduler
from scheduler.storage.disk_cache import DiskCache
from tests.support.fake_backend import END_TOKEN, FakeBackend, FakeSampler, adapted, hashed_token
from tests.support.requests import add_request

WHOLE = EmbeddingInfo(pooling="mean", size=2, max_tokens=40, is_whole=True, max_rows=60)
ALONE = EmbeddingInfo(
    pooling="mean", size=2, max_tokens=40, is_whole=True, max_rows=60, is_alone=True
)
LAST = EmbeddingInfo(pooling="last", size=2, max_tokens=192, is_whole=False, max_rows=60)
"""Three kinds of contexts for embeddings."""

GREEDY = SamplingParams(temperature=0.0)


def prompt(length: int, family: int = 0) -> list[int]:
    """A list of tokens; two families differ in their first token."""
    return [10 + (97 * family + 31 * index + index * index // 7) % 240 for index in range(length)]


def make_request(
    request_id: int = 1, tokens: Iterable[int] = (11, 12, 13), **fields: Any
) -> AddRequest:
    """A request with a short prompt, unless the arguments say otherwise."""
    fields.setdefault("sampling", GREEDY)
    return add_request(request_id=request_id, prompt=list(tokens), **fields)


def make_sequence(tokens: Iterable[int] = (11, 12, 13), **fields: Any) -> Sequence:
    """A waiting sequence."""
    return Sequence.of(make_request(tokens=tokens, **fields))


def idle_slot(id: int, tokens: Iterable[int] = (), last_used: int = 0) -> Slot:
    """A slot whose cells hold `tokens`."""
    held = list(tokens)
    return Slot(id, held, len(held), last_used=last_used)


def busy_slot(id: int, tokens: Iterable[int], num_computed: int | None = None) -> Slot:
    """A slot with a running sequence that has computed `num_computed` tokens, by default all."""
    sequence = make_sequence(tokens)
    count = len(sequence.tokens) if num_computed is None else num_computed
    slot = Slot(id, sequence.tokens, count, sequence=sequence)
    sequence.slot = slot
    return slot


def make_scheduler(**changes: Any) -> Scheduler:
    """A scheduler of two slots of 64 tokens, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "n_slots": 2,
        "n_ctx_slot": 64,
        "n_batch": 32,
        "end_tokens": frozenset({END_TOKEN}),
        "abilities": CacheAbilities(),
        "adapters": frozenset("abc"),
        **changes,
    }
    values.setdefault("n_ctx", values["n_slots"] * values["n_ctx_slot"])
    return Scheduler(ContextLimits(**values))


def rows(step: Step) -> dict[int, int]:
    """Rows of each request in a step."""
    return {chunk.sequence.request_id: chunk.num_tokens for chunk in step.chunks}


def submit_all(scheduler: Scheduler, *lengths: int) -> None:
    """Add requests 1, 2, ... with unrelated prompts of these lengths."""
    for index, length in enumerate(lengths, start=1):
        assert not scheduler.add_request(make_request(index, prompt(length, family=index)))


def run_step(scheduler: Scheduler, token: int = 100) -> tuple[Step, list[Event]]:
    """One step, in which every sequence that needs a token gets `token`."""
    step = scheduler.schedule()
    results: list[Any] = [SampledRun((Sample(token),)) for _ in step.sampled()]
    return step, scheduler.update(step, results)


def often_ending(tokens: list[int]) -> int:
    """A fake model whose answers have about ten tokens."""
    token = hashed_token(tokens)
    return END_TOKEN if token % 11 == 0 else token


def seldom_ending(tokens: list[int]) -> int:
    """A fake model whose answers have about five hundred tokens."""
    token = hashed_token([*tokens, len(tokens)])
    return END_TOKEN if token == 77 and tokens[-1] % 2 else token


@dataclass
class CountingBackend(FakeBackend):
    """A fake that counts open samplers, knows which cells were moved, and can fail in an edit."""

    open_samplers: int = 0
    max_forced: int = 0
    """How many forced tokens may follow each sampled token."""
    edits_before_failure: int = -1
    """How many more edits succeed; -1 for all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.in_place = [self.n_ctx_slot] * self.n_slots
        """Of each slot, the position from which on cells were moved; its size if none were."""

    def edit(self, edit: CacheEdit) -> None:
        if self.edits_before_failure == 0:
            raise self.failure()
        self.edits_before_failure -= 1
        super().edit(edit)
        self._note_moves(edit)

    def _note_moves(self, edit: CacheEdit) -> None:
        """Check that other slots get no moved cells, because those differ from computed ones."""
        match edit:
            case CopyPrefix(source, target, length):
                assert length <= self.in_place[source]
                self.in_place[target] = self.n_ctx_slot
            case Save(slot):
                assert len(self.cells[slot]) <= self.in_place[slot]
            case Shift(slot, start):
                self.in_place[slot] = min(self.in_place[slot], start)
            case Restore(slot=slot):
                self.in_place[slot] = self.n_ctx_slot
            case Trim(slot, length) if length <= self.in_place[slot]:
                self.in_place[slot] = self.n_ctx_slot

    def failure(self) -> DecodeError:
        self.in_place = [self.n_ctx_slot] * self.n_slots
        return super().failure()

    def sampler(self, request: AddRequest, prepared: Preparation | None = None) -> FakeSampler:
        self.open_samplers += 1
        return CountedSampler(self, request)


@dataclass
class CountedSampler(FakeSampler):
    """Tells its backend when it is closed, and presents some of the model's tokens as forced."""

    def sample(self, row: int) -> Sample | None:
        sample = super().sample(row)
        if sample is None:
            return None
        assert isinstance(self.backend, CountingBackend)
        tokens = list(self._cells(row))
        self._add(tokens, sample.token)
        forced: list[int] = []
        for _ in range(sample.token % (self.backend.max_forced + 1)):
            self._discard(tokens)
            forced.append(self.backend.next_token(tokens))
            self._add(tokens, forced[-1])
        return replace(sample, forced=tuple(forced))

    def _add(self, cells: list[int], token: int) -> None:
        cells.extend(adapted([token], self.request.spec.lora))

    def _discard(self, tokens: list[int]) -> None:
        """Leave the tokens that a model would see if the forced tokens were sampled one by one."""
        if self.request.spec.context_shift is not None:
            window = Window.of(self.request.spec.context_shift, self.backend.n_ctx_slot)
            count = window.num_discarded(len(tokens))
            del tokens[window.keep : window.keep + count]

    def close(self) -> None:
        assert isinstance(self.backend, CountingBackend)
        self.backend.open_samplers -= 1


def make_engine(
    backend: FakeBackend,
    *,
    cache_bytes: int = 0,
    disk: DiskCache | None = None,
    costs: Costs = UNKNOWN_COSTS,
    checkpoints: CheckpointConfig = CheckpointConfig(),  # noqa: B008 (frozen)
    masks: Masks | None = None,
) -> Engine:
    """An engine whose clock advances by a millisecond each time it is read."""
    ticks = itertools.count()
    return Engine(
        backend,
        lambda: next(ticks) / 1000,
        itl_target=0.1,
        host_memory=HostMemory(cache_bytes, checkpoints),
        open_disk=None if disk is None else lambda: disk,
        costs=costs,
        masks=masks,
    )


@dataclass
class Outcome:
    """The events of one request, put together."""

    tokens: list[int] = field(default_factory=list)
    reasons: list[FinishReason] = field(default_factory=list)
    starts: int = 0
    message: str = ""
    num_cached: int = 0
    embedding: bytes = b""
    scores: dict[int, float] = field(default_factory=dict)
    """Log-probabilities of the prompt's tokens, by position."""

    @property
    def answer(self) -> tuple[list[int], FinishReason]:
        """The tokens, and the reason why they ended. There must be exactly one."""
        (reason,) = self.reasons
        return self.tokens, reason


Outcomes = dict[int, Outcome]


def collect(outcomes: Outcomes, outputs: StepOutputs) -> None:
    """Add a step's events to the outcomes of their requests."""
    for event in outputs.events:
        outcome = outcomes.setdefault(event.request_id, Outcome())
        assert not outcome.reasons, f"{event} after the end"
        match event:
            case Started():
                outcome.starts += 1
                outcome.num_cached = event.num_cached_tokens
            case Scored():
                for position, score in enumerate(event.logprobs, start=event.start):
                    assert outcome.scores.setdefault(position, score.logprob) == score.logprob
            case Generated():
                assert outcome.starts == 1
                outcome.tokens += event.tokens
            case EmbeddedEvent():
                assert not outcome.embedding
                outcome.embedding = event.vectors
            case Finished():
                outcome.reasons.append(event.reason)
                outcome.message = event.message


def run(engine: Engine, *requests: AddRequest, max_steps: int = 10_000) -> Outcomes:
    """Add the requests, and step until the engine is idle."""
    for request in requests:
        engine.add_request(request)
    return drain(engine, {}, max_steps)


def drain(engine: Engine, outcomes: Outcomes, max_steps: int = 10_000) -> Outcomes:
    """Step until the engine is idle; fails if that takes more than `max_steps`."""
    for _ in range(max_steps):
        if not engine.has_work:
            return outcomes
        collect(outcomes, engine.step().outputs())
    raise AssertionError(f"still not idle after {max_steps} steps")


def alone(request: AddRequest, backend: FakeBackend) -> Outcome:
    """The outcome of a request on an engine like `backend`, with nobody else."""
    fresh = FakeBackend(
        n_slots=backend.n_slots,
        n_ctx_slot=backend.n_ctx_slot,
        n_ctx=backend.n_ctx,
        next_token=backend.next_token,
        embeds=backend.embeds,
        n_batch=max(backend.n_batch, 64),
    )
    return run(make_engine(fresh), request)[request.request_id]


def check_integrity(engine: Engine, backend: FakeBackend) -> None:
    """Check what must hold between any two steps."""
    scheduler = engine.scheduler
    for slot, cells in zip(scheduler.cache.slots, backend.cells, strict=True):
        assert cells == adapted(slot.tokens[: slot.num_tokens], slot.scope.lora)
        assert backend.states[slot.id] == cells
        assert slot.shifted_from is None or slot.num_tokens >= slot.shifted_from
        assert slot.sequence is None or slot.sequence.slot is slot
        if isinstance(backend, CountingBackend):
            assert len(slot.reusable_tokens) == min(slot.num_tokens, backend.in_place[slot.id])
    running = [sequence.request_id for sequence in scheduler.running]
    waiting = [sequence.request_id for sequence in scheduler.waiting]
    assert len({*running, *waiting}) == len(running) + len(waiting)
    assert all(sequence.slot is None for sequence in scheduler.waiting)
    assert scheduler.cache.num_tokens <= scheduler.limits.n_ctx
    _check_host_memory(engine, backend)
    _check_index(engine)


def _check_host_memory(engine: Engine, backend: FakeBackend) -> None:
    cache = engine.scheduler.cache
    kept = {prefix.id: adapted(prefix.tokens, prefix.scope.lora) for prefix in cache.host_cache}
    assert kept == backend.saved
    assert cache.host_cache.size == sum(entry.size for entry in cache.host_cache)
    assert cache.host_cache.size <= max(cache.limits.cache_bytes, 0)
    checkpoints = [entry for entry in cache.host_cache if isinstance(entry, Checkpoint)]
    assert len(checkpoints) == cache.host_cache.num_checkpoints <= cache.limits.max_checkpoints


def _check_index(engine: Engine) -> None:
    """Check that the index has all holders, with the tokens that they hold, and no others."""
    cache = engine.scheduler.cache
    indexed = {holder: _indexed(cache, holder) for holder in cache.index._ends}
    for slot in cache.slots:
        scope, tokens = indexed.pop(slot, (slot.scope, []))
        if slot.sequence is None:
            assert tokens == slot.reusable_tokens
        else:  # the prompt is indexed at the start, the answer at the end
            assert tokens == slot.tokens[: slot.shifted_from][: len(tokens)]
            if slot.shifted_from is None and slot.sequence.num_discarded_tokens == 0:
                assert tokens[: slot.sequence.num_prompt_tokens] == [*slot.sequence.spec.prompt]
        assert scope == slot.scope or not tokens
    assert indexed == {p: (p.scope, p.tokens) for p in cache.host_cache}


def _indexed(cache: KVCacheManager, holder: CacheHolder) -> tuple[CacheScope, list[int]]:
    index = cache.index
    node, tokens = index._ends[holder], list[int]()
    while node.parent is not None:
        assert holder in node.holders
        node, tokens = node.parent, [*node.edge, *tokens]
    return index._scopes[holder], tokens


def check_idle(engine: Engine, backend: FakeBackend) -> None:
    """Check what must hold when nothing is left to do."""
    check_integrity(engine, backend)
    assert not engine.scheduler.running
    assert not engine.scheduler.waiting
    assert not engine.samplers.by_request
    if isinstance(backend, CountingBackend):
        assert backend.open_samplers == 0
