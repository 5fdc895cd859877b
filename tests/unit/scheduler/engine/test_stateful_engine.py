"""Random commands to the engine: every request ends once, with the right answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grammars.constraint import GbnfGrammar
from protocol.commands import (
    Abort,
    AddRequest,
    ContextShift,
    DraftMethod,
    EraseSlot,
    InspectBlocks,
    RestoreSlot,
    SaveSlot,
    SlotCommand,
    Speculation,
)
from protocol.config import CheckpointConfig
from protocol.events import FinishReason
from protocol.messages import EmbeddingInfo
from scheduler.batching.cost_model import StepCost
from scheduler.core.abilities import CacheAbilities
from scheduler.engine.calibration import Costs
from scheduler.storage.disk_cache import DiskCache
from scheduler.storage.fingerprint import Fingerprint
from tests.support.block_view import BlockView
from tests.support.late_masks import LateMasks
from tests.support.scheduling import (
    ALONE,
    LAST,
    WHOLE,
    CountingBackend,
    Outcome,
    Outcomes,
    alone,
    check_idle,
    check_integrity,
    collect,
    make_engine,
    make_request,
    often_ending,
    prompt,
    seldom_ending,
)

N_CTX_SLOT = 192
DraftToken = Callable[[list[int], int], int]


def always_right(tokens: list[int], token: int) -> int:
    """A draft model that says what the model says."""
    return token


def often_wrong(tokens: list[int], token: int) -> int:
    """A draft model that is wrong every third time, also about the end of the answer."""
    return (token + len(tokens)) % 250 if token % 3 == 0 else token


NUM_KINDS = 6
SHORT = 8
"""Texts that have been cut may share this many tokens by chance."""

COSTS = (
    {1: 1.0, 2: 1.1, 8: 1.4, 64: 5.0},
    {1: 1.0, 2: 3.0, 3: 5.0, 6: 12.0},
    {1: 1000.0, 2: 900.0, 3: 800.0, 4: 1.0, 6: 1.0},
)
"""Seconds by rows. With the first table drafts pay, with the second batches are divided, with the
third they are padded."""

FINGERPRINT = Fingerprint(model="m", build="b", context="c")

layouts = st.sampled_from(
    [
        {"n_slots": 1, "n_batch": 16},
        {"n_slots": 2, "n_batch": 300},
        {"n_slots": 4, "n_batch": 64},
        {"n_slots": 4, "n_batch": 64, "n_ctx": 300},
        {"n_slots": 6, "n_batch": 16, "n_ctx": 200},
    ]
)
RIGID = CacheAbilities(can_trim=False, can_checkpoint=True)
memories = st.sampled_from(
    [
        *[{"abilities": CacheAbilities()}] * 3,
        *[{"abilities": CacheAbilities(reads_idle_cells=True)}] * 2,
        {"abilities": CacheAbilities(can_copy=False)},
        {"abilities": CacheAbilities(can_trim=False, can_copy=False)},
        {"abilities": CacheAbilities(can_trim=False)},
        {"abilities": RIGID},
        {"abilities": replace(RIGID, reads_idle_cells=True)},
        *[{"abilities": replace(RIGID, max_rollback=count)} for count in (1, 4, 100)],
        {"abilities": replace(RIGID, max_rollback=4), "has_no_cells": True},
        {"abilities": replace(RIGID, max_rollback=9, recomputes_drafts=True)},
        {"abilities": replace(RIGID, max_rollback=9, recomputes_drafts=True), "has_no_cells": True},
    ]
)
block_sizes = st.sampled_from([3, 16, 64])
host_memories = st.fixed_dictionaries(
    {
        "cache_bytes": st.sampled_from([0, 200, 2000]),
        "checkpoints": st.builds(
            CheckpointConfig, per_slot=st.sampled_from([0, 1, 32]), step=st.sampled_from([0, 70])
        ),
    }
)
prompts = st.builds(
    lambda shared, family, own, own_family: [
        *prompt(shared, family),
        *prompt(own, 10 + own_family),
    ],
    st.sampled_from([0, 10, 40, 70, 150]),
    st.integers(0, 1),
    st.integers(1, 30),
    st.integers(0, 2),
) | st.builds(
    lambda begin, gap, end: [*prompt(begin), *prompt(begin + gap + end)[begin + gap :], 5],
    st.sampled_from([0, 10, 40]),
    st.integers(0, 30),
    st.sampled_from([10, 60, 100]),
)
speculations = st.none() | st.builds(
    Speculation,
    methods=st.lists(st.sampled_from(DraftMethod), min_size=1, unique=True).map(tuple),
    n_max=st.sampled_from([1, 3, 20]),
    n_min=st.sampled_from([0, 0, 2]),
)
draft_tokens = st.sampled_from([always_right, often_wrong])
mask_delays = st.none() | st.lists(st.sampled_from([0, 0, 1, 3, 10]), min_size=1, max_size=7)
fields = st.fixed_dictionaries(
    {
        "max_tokens": st.sampled_from([-1, 0, 1, 3, 20]),
        "cache_prompt": st.sampled_from([True, True, False]),
        "cache_salt": st.sampled_from(["", "", "a's", "b's"]),
        "lora": st.sampled_from([(), (), (("a", 1.0),), (("a", 0.5), ("b", 1.0))]),
        "slot": st.sampled_from([None, None, None, 0, 99]),
        "tenant": st.sampled_from(["a", "b"]),
        "priority": st.sampled_from([0, 0, 1]),
        "report_progress": st.booleans(),
        "partings": st.sampled_from([(), (), (70,), (40, 64, 150, 500)]),
        "score_prompt": st.sampled_from([False, False, True]),
        "min_reused_chunk": st.sampled_from([0, 1, 5, 40]),
        "speculation": speculations,
        "constraint": st.sampled_from([None, GbnfGrammar("a"), GbnfGrammar("b")]),
    }
)


shifts = st.builds(
    ContextShift, keep=st.sampled_from([0, 1, 30, 500]), discard=st.sampled_from([0, 1, 7, 500])
)


def fitting(way: EmbeddingInfo, n_batch: int) -> EmbeddingInfo:
    """The bounds of embeddings, reduced to what fits a batch."""
    if not way.is_whole:
        return way
    return msgspec.structs.replace(
        way, max_tokens=min(way.max_tokens, n_batch), max_rows=min(way.max_rows, n_batch)
    )


class EngineMachine(RuleBasedStateMachine):
    """Drives an engine; answers are checked against those of `accepted` requests alone."""

    @initialize(
        layout=layouts,
        memory=memories,
        host_memory=host_memories,
        constraints=st.tuples(st.sampled_from([0, 0, 5, 50]), mask_delays),
        seldom_ends=st.booleans(),
        way=st.sampled_from([WHOLE, ALONE, LAST]),
        draft_token=draft_tokens,
        table_and_block_size=st.tuples(st.sampled_from([None, *COSTS]), block_sizes),
    )
    def start(
        self,
        layout: dict[str, Any],
        memory: dict[str, Any],
        host_memory: dict[str, Any],
        constraints: tuple[int, list[int] | None],
        seldom_ends: bool,
        way: EmbeddingInfo,
        draft_token: DraftToken,
        table_and_block_size: tuple[dict[int, float] | None, int],
    ) -> None:
        self.fails = False
        max_forced, delays = constraints
        self.delays = delays
        self.table, self.block_size = table_and_block_size
        self.folder = tempfile.TemporaryDirectory()
        self.disk = DiskCache(Path(self.folder.name, "cache"), 4000, FINGERPRINT)
        self.backend_fields = {
            "next_token": seldom_ending if seldom_ends else often_ending,
            **memory,
            "max_forced": max_forced,
            "draft_token": draft_token,
            "embeds": fitting(way, layout["n_batch"]),
            "is_masked": lambda request: delays is not None and request.request_id % 3 > 0,
            **layout,
        }
        self.host_memory = host_memory
        self._start_engine()
        self.accepted: dict[int, AddRequest] = {}
        self.checked: set[int] = set()
        self.resumed: dict[int, list[int]] = {}
        """By request, the tokens of its answer that it came with."""
        self.outcomes: Outcomes = {}
        self.adopts = False
        """Whether a slot was restored for the salt "a's", which content without a salt gets."""

    @rule(tokens=prompts, fields=fields)
    def submit(self, tokens: list[int], fields: dict[str, Any]) -> None:
        request = make_request(len(self.accepted) + 1, tokens, **fields)
        self.accepted[request.request_id] = request
        self.engine.add_request(request)

    @rule(
        shared=st.sampled_from([40, 70, 150]),
        ends=st.lists(st.integers(1, 30), min_size=2, max_size=6),
        fields=fields,
    )
    def submit_a_crowd(self, shared: int, ends: list[int], fields: dict[str, Any]) -> None:
        """Several requests with the same prefix at once, as under one system prompt."""
        for family, length in enumerate(ends):
            tokens = [*prompt(shared), *prompt(length, 20 + family)]
            self.submit(tokens=tokens, fields={**fields, "slot": None})

    @precondition(lambda self: self.checked)
    @rule(data=st.data(), length=st.integers(1, 20))
    def continue_a_conversation(self, data: st.DataObject, length: int) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.checked)))
        earlier = self.accepted[request_id]
        tokens = [*earlier.spec.prompt, *self.outcomes[request_id].tokens, *prompt(length, 30)]
        fields = {name: getattr(earlier.spec, name) for name in ("cache_salt", "lora", "tenant")}
        self.submit(tokens=tokens, fields={**fields, "max_tokens": 5})

    @precondition(lambda self: self.checked)
    @rule(data=st.data(), salt=st.sampled_from(["", "a's", "b's"]))
    def repeat_what_another_scope_said(self, data: st.DataObject, salt: str) -> None:
        earlier = self.accepted[data.draw(st.sampled_from(sorted(self.checked)))]
        fields = {"cache_salt": salt, "lora": earlier.spec.lora, "max_tokens": 3}
        self.submit(tokens=[*self._text(earlier), 5], fields=fields)

    @rule(tokens=prompts, fields=fields)
    def submit_for_an_embedding(self, tokens: list[int], fields: dict[str, Any]) -> None:
        assert self.backend.embeds is not None
        fields = {**fields, "embedding": True, "max_tokens": 0}
        request_id = len(self.accepted) + 1
        request = make_request(request_id, tokens[: self.backend.embeds.max_tokens], **fields)
        self.accepted[request_id] = request
        self.engine.add_request(request)

    @precondition(lambda self: self.backend.abilities.can_trim)
    @rule(
        tokens=prompts,
        fields=fields,
        shift=shifts,
        max_tokens=st.sampled_from([50, 200, 500]),
        num_resumed=st.sampled_from([0, 0, 10, 300]),
    )
    def submit_what_outgrows_its_slot(
        self,
        tokens: list[int],
        fields: dict[str, Any],
        shift: ContextShift,
        max_tokens: int,
        num_resumed: int,
    ) -> None:
        request_id = len(self.accepted) + 1
        fields = {**fields, "context_shift": shift, "max_tokens": max_tokens}
        whole = make_request(request_id, tokens, **fields)
        answer = alone(whole, self.backend).tokens
        cut = min(num_resumed, len(answer) - 1) if answer else 0
        self.accepted[request_id] = whole
        self.resumed[request_id] = answer[:cut]
        self.engine.add_request(make_request(request_id, tokens, **fields, resumed=answer[:cut]))

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.accepted)))
        self.engine.abort(Abort([request_id]))

    @rule(count=st.integers(1, 20))
    def step(self, count: int) -> None:
        for _ in range(count):
            collect(self.outcomes, self.engine.step().outputs())
            check_integrity(self.engine, self.backend)
            self.view.apply(self.engine.take_block_events())

    @rule()
    def step_whose_batch_fails(self) -> None:
        self.fails = True
        collect(self.outcomes, self.engine.step().outputs())
        self.fails = False

    @rule(edits_before=st.integers(0, 3))
    def step_whose_edits_fail(self, edits_before: int) -> None:
        self.backend.edits_before_failure = edits_before
        collect(self.outcomes, self.engine.step().outputs())
        self.backend.edits_before_failure = -1

    @rule(
        action=st.sampled_from(["save", "save", "restore", "restore", "erase"]),
        slot=st.integers(0, 6),
        name=st.sampled_from("ab"),
        steps=st.sampled_from([0, 0, 3]),
        edits_before=st.sampled_from([-1, -1, -1, 0, 1, 2]),
        salt=st.sampled_from(["", "a's"]),
    )
    def act_on_a_slot(
        self, action: str, slot: int, name: str, steps: int, edits_before: int, salt: str
    ) -> None:
        path = str(Path(self.folder.name, name))
        commands: dict[str, SlotCommand] = {
            "save": SaveSlot(1, slot, path, cache_salt=salt),
            "restore": RestoreSlot(1, slot, path, cache_salt=salt),
            "erase": EraseSlot(1, slot),
        }
        self.adopts = self.adopts or (action == "restore" and bool(salt))
        self.backend.edits_before_failure = edits_before
        self.engine.begin_slot_command(commands[action])
        self.backend.edits_before_failure = -1
        self.step(steps)
        replies = []
        while self.engine.awaits_files:
            replies += self.engine.take_replies()
        assert [reply.query_id for reply in replies] == [1]

    @rule(name=st.sampled_from("ab"), data=st.data())
    def damage_a_file(self, name: str, data: st.DataObject) -> None:
        path = Path(self.folder.name, name)
        if path.exists():
            content = bytearray(path.read_bytes())
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1
            path.write_bytes(content)

    @precondition(lambda self: not self.engine.has_work)
    @rule()
    def restart(self) -> None:
        assert self.engine.disk is not None
        self.engine.disk.save(60)
        self.engine.close()
        self._start_engine()

    def _start_engine(self) -> None:
        self.backend = CountingBackend(
            n_ctx_slot=N_CTX_SLOT,
            fail_on=lambda chunks: self.fails,
            fingerprint=FINGERPRINT,
            **self.backend_fields,
        )
        step = None if self.table is None else StepCost(self.table, self.table)
        self.engine = make_engine(
            self.backend,
            disk=self.disk,
            costs=Costs(step, step and StepCost({1: 0.01}, {1: 0.01})),
            **self.host_memory,
            masks=LateMasks(self.delays or [0]),
        )
        self.view = BlockView(self.block_size)
        self.engine.watch_blocks(self.block_size)
        assert self.engine.disk is not None
        self.engine.disk.start(60)

    @invariant()
    def engine_and_backend_agree(self) -> None:
        check_integrity(self.engine, self.backend)

    @invariant()
    def a_subscriber_knows_the_blocks_that_are_held(self) -> None:
        self.view.apply(self.engine.take_block_events())
        held = self.engine.inspect_blocks(InspectBlocks(1)).held
        assert self.view.names() == {medium: set(names) for medium, names in held.items()}

    @invariant()
    def every_ended_request_ended_rightly(self) -> None:
        for request_id, outcome in self._ended():
            if request_id not in self.checked:
                self.checked.add(request_id)
                self._check(self.accepted[request_id], outcome.tokens, outcome.reasons)
                self._check_embedding(self.accepted[request_id], outcome)
                self._check_scores(self.accepted[request_id], outcome)
                self._check_scope(self.accepted[request_id], outcome)

    def teardown(self) -> None:
        """Check that every accepted request ends in a bounded number of steps."""
        if not hasattr(self, "engine"):
            return
        for _ in range(self._enough_steps()):
            if not self.engine.has_work:
                break
            self.step(1)
        assert not self.engine.has_work, "starved"
        self.every_ended_request_ended_rightly()
        assert {request_id for request_id, _ in self._ended()} == set(self.accepted)
        check_idle(self.engine, self.backend)
        self.engine.close()
        self.folder.cleanup()

    def _ended(self) -> Iterator[tuple[int, Any]]:
        return ((id, outcome) for id, outcome in self.outcomes.items() if outcome.reasons)

    def _check(self, request: AddRequest, tokens: list[int], reasons: list[FinishReason]) -> None:
        expected, reason = alone(request, self.backend).answer
        expected = expected[len(self.resumed.get(request.request_id, ())) :]
        if reasons == [reason]:
            assert tokens == expected
        else:
            assert reasons in ([FinishReason.ABORTED], [FinishReason.FAILED])
            assert tokens == expected[: len(tokens)]

    def _check_embedding(self, request: AddRequest, outcome: Outcome) -> None:
        if outcome.reasons == [FinishReason.EMBEDDED]:
            assert outcome.embedding == alone(request, self.backend).embedding
        else:
            assert not outcome.embedding

    def _check_scores(self, request: AddRequest, outcome: Outcome) -> None:
        """An answer that comes with tokens had its prompt scored before."""
        expected = alone(request, self.backend)
        if outcome.reasons != expected.reasons:
            return
        assert outcome.scores == ({} if self.resumed.get(request.request_id) else expected.scores)
        if request.spec.score_prompt and outcome.scores:
            assert [*expected.scores] == [*range(1, len(request.spec.prompt))]

    def _check_scope(self, request: AddRequest, outcome: Outcome) -> None:
        """What a request found in the cache was computed for its own scope. Moved cells belong to
        one slot, and windows cut texts, so requests with these are left out."""
        spec = request.spec
        if spec.min_reused_chunk or spec.context_shift or outcome.num_cached < SHORT:
            return
        salts = (
            {spec.cache_salt, ""} if spec.cache_salt == "a's" and self.adopts else {spec.cache_salt}
        )
        own = [
            other
            for other in self.accepted.values()
            if other is not request
            and other.spec.lora == spec.lora
            and other.spec.cache_salt in salts
        ]
        assert any(
            self._text(other)[: outcome.num_cached] == [*spec.prompt[: outcome.num_cached]]
            for other in own
        )

    def _text(self, request: AddRequest) -> list[int]:
        """The prompt, and what is known of the answer."""
        id = request.request_id
        answer = self.outcomes[id].tokens if id in self.outcomes else []
        return [*request.spec.prompt, *self.resumed.get(id, ()), *answer]

    def _enough_steps(self) -> int:
        """Enough, because the oldest running sequence advances each time its kind is served."""
        return 2 + len(self.accepted) * NUM_KINDS * (N_CTX_SLOT + 500)


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
