"""Who is drafted for, by what, and how far."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from protocol.commands import AddRequest, DraftBounds, DraftMethod, Speculation
from protocol.config import NgramConfig
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout
from scheduler.core.step import Chunk
from scheduler.spec_decode.draft_plan import FIRST_PAUSE, LAST_PAUSE
from scheduler.spec_decode.draft_policy import TRIAL_LENGTH
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.speculator import ONE_STREAM, Speculator
from tests.support.fake_backend import FakeBackend, FakeSampler
from tests.support.scheduling import make_sequence, prompt

CHEAP = {1: 1.0, 4: 1.1, 16: 1.5, 64: 3.0}
DEAR = {1: 1.0, 4: 4.0, 16: 16.0, 64: 64.0}
MIDDLING = {1: 1.0, 2: 1.7, 4: 2.2, 16: 8.0, 64: 32.0}
NGRAM = NgramConfig(simple_size=2, shared_size=2)


def request_of(chunk: Chunk) -> AddRequest:
    sequence = chunk.sequence
    return AddRequest(request_id=sequence.request_id, spec=sequence.spec)


@dataclass
class PickySampler(FakeSampler):
    """Its constraint allows this many tokens of any draft."""

    num_allowed: int = 99

    def allowed(self, tokens: list[int]) -> int:
        return min(len(tokens), self.num_allowed)


def make_speculation(*methods: DraftMethod, n_max: int = 8, **fields: Any) -> Speculation:
    return Speculation(methods=methods, n_max=n_max, **fields)


class Desk:
    """A speculator and a draft model that always drafts 1, 2, 3, ..."""

    def __init__(
        self,
        table: dict[int, float] | None,
        draft: dict[int, float] | None = None,
        layout: Layout = ONE_STREAM,
    ) -> None:
        cost = None if table is None else StepCost(table, table)
        draft_cost = StepCost(draft, draft) if draft else None
        self.speculator = Speculator(NGRAM, cost, draft_cost, layout)
        self.num_allowed = 99
        self.confidences = [0.99]
        self.asked: list[DraftRequest] = []
        self.max_catch_up = 0

    def run(self, requests: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        self.asked = list(requests)
        self.max_catch_up = max_catch_up
        return [list(self._sure(request)) for request in requests]

    def _sure(self, request: DraftRequest) -> Iterator[int]:
        confidences = itertools.cycle(self.confidences)
        for token in range(1, request.n_max + 1):
            if not request.stopping.should_continue(next(confidences)):
                return
            yield token

    def chunk(
        self, speculation: Speculation | None, tokens: list[int], slot: int = 0, **fields: str
    ) -> Chunk:
        sequence = make_sequence(tokens, speculation=speculation, **fields)
        sequence.request_id = slot
        room = 0 if speculation is None else 64
        end = len(tokens)
        return Chunk(sequence, slot, end - 1, end, True, is_decode=True, max_draft=room)

    def draft(self, *chunks: Chunk) -> list[tuple[int, ...]]:
        backend = FakeBackend()
        samplers = {
            chunk.sequence.request_id: PickySampler(backend, request_of(chunk), self.num_allowed)
            for chunk in chunks
        }
        self.asked = []
        found = self.speculator.draft(chunks, samplers, self.run)
        return [chunk.draft for chunk in found]


def replace_id(submit: Any, request_id: int) -> Any:
    return msgspec.structs.replace(submit, request_id=request_id)


def test_ngrams_are_asked_before_the_draft_model() -> None:
    desk = Desk(None)
    both = make_speculation(DraftMethod.NGRAM_SIMPLE, DraftMethod.MODEL, n_max=3)
    assert desk.draft(desk.chunk(both, [5, 6, 7, 8, 5, 6])) == [(7, 8, 5)]
    assert desk.asked == []
    assert desk.draft(desk.chunk(both, [5, 6, 7, 8], slot=1)) == [(1, 2, 3)]


def test_all_drafts_are_asked_for_together() -> None:
    desk = Desk(None)
    model = make_speculation(DraftMethod.MODEL, n_max=2)
    chunks = [desk.chunk(model, [5, 6], slot) for slot in range(3)]
    plain = desk.chunk(None, [5, 6], 3)
    assert desk.draft(*chunks, plain) == [(1, 2), (1, 2), (1, 2), ()]
    assert [request.slot for request in desk.asked] == [0, 1, 2]


def test_a_constraint_cuts_ngram_drafts() -> None:
    desk = Desk(None)
    chunk = desk.chunk(make_speculation(DraftMethod.NGRAM_SIMPLE), [5, 6, 7, 8, 5, 6])
    desk.num_allowed = 1
    assert desk.draft(chunk) == [(7,)]
    desk.num_allowed = 0
    assert desk.draft(chunk) == [()]


def test_drafts_that_are_too_short_are_thrown_away() -> None:
    desk = Desk(None)
    tokens = [5, 6, 7, 8, 5, 6]
    short = make_speculation(DraftMethod.NGRAM_SIMPLE, n_min=5)
    assert desk.draft(desk.chunk(short, tokens)) == [()]
    own = {DraftMethod.NGRAM_SIMPLE: DraftBounds(n_max=2, n_min=1)}
    assert desk.draft(desk.chunk(replace_bounds(short, own), tokens, slot=1)) == [(7, 8)]


def replace_bounds(speculation: Speculation, own: dict[DraftMethod, DraftBounds]) -> Speculation:
    return make_speculation(*speculation.methods, n_min=speculation.n_min, own_bounds=own)


def test_one_sequence_learns_from_another_of_its_scope() -> None:
    desk = Desk(None)
    shared = make_speculation(DraftMethod.NGRAM_MOD, n_max=3)
    desk.draft(desk.chunk(shared, [5, 6, 7, 8, 9], slot=0))
    assert desk.draft(desk.chunk(shared, [3, 5, 6], slot=1)) == [(7, 8, 9)]


@pytest.mark.parametrize(
    "other", [{"tenant": "b"}, {"tenant": ""}, {"tenant": "a", "cache_salt": "s"}]
)
def test_nothing_is_learned_from_another_tenant_or_scope(other: dict[str, str]) -> None:
    """Else draft counts would tell whether a text that was tried is another's."""
    desk = Desk(None)
    shared = make_speculation(DraftMethod.NGRAM_MOD, n_max=3)
    desk.draft(desk.chunk(shared, [5, 6, 7, 8, 9], slot=0, tenant="a"))
    assert desk.draft(desk.chunk(shared, [3, 5, 6], slot=1, **other)) == [()]
    assert desk.draft(desk.chunk(shared, [3, 5, 6], slot=2, tenant="a")) == [(7, 8, 9)]


def test_where_rows_are_dear_next_to_nothing_is_drafted() -> None:
    """Without any trial, nothing would show that rows are not dear any more."""
    desk = Desk(DEAR, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6])
    trials = sum(desk.draft(chunk) != [()] for _ in range(20 * LAST_PAUSE))
    assert 1 <= trials <= 20 * LAST_PAUSE / 1000


def test_where_rows_are_cheap_it_goes_as_far_as_it_may() -> None:
    desk = Desk(CHEAP, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL, n_max=5), [5, 6])
    for _ in range(20):
        (draft,) = desk.draft(chunk)
        desk.speculator.observe_verified(replace(chunk, draft=draft), len(draft))
    assert len(draft) == 5


def test_what_is_mostly_wrong_is_tried_again_more_and_more_seldom() -> None:
    desk = Desk(MIDDLING, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6])
    trials = []
    for step in range(20 * FIRST_PAUSE):
        (draft,) = desk.draft(chunk)
        if draft:
            trials.append((step, len(draft)))
            desk.speculator.observe_verified(replace(chunk, draft=draft), 0)
    late = [step for step, length in trials if step > FIRST_PAUSE]
    assert 2 <= len(late) <= 6
    assert all(length <= TRIAL_LENGTH for step, length in trials if step > FIRST_PAUSE)
    gaps = [b - a for a, b in itertools.pairwise(late)]
    assert gaps == sorted(gaps)


def test_bad_luck_of_some_sequences_is_not_held_against_all_that_follow() -> None:
    """Short answers never reach a trial of their own. Each begins with the rates of others."""
    desk = Desk(MIDDLING, draft={1: 0.01})
    lengths: list[int] = []
    for number in range(60):
        chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6], slot=number)
        for _ in range(8):
            (draft,) = desk.draft(chunk)
            lengths.append(len(draft))
            if draft:
                desk.speculator.observe_verified(
                    replace(chunk, draft=draft), 0 if number < 10 else len(draft)
                )
        desk.speculator.forget(number)
    assert 0 in lengths[:80]
    assert min(lengths[-80:]) > 0


def test_the_draft_model_reads_a_prompt_for_as_long_as_a_step_takes() -> None:
    for seconds_a_row, most in ((0.0001, 2048), (0.0015, 512)):
        desk = Desk(CHEAP, draft={1: seconds_a_row, 64: 64 * seconds_a_row})
        desk.draft(desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6]))
        assert desk.max_catch_up == most


def test_a_slow_draft_model_is_found_out() -> None:
    desk = Desk(CHEAP, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6])
    desk.draft(chunk)  # the first time it reads the prompt, which says nothing of drafting
    (draft,) = desk.draft(chunk)
    assert draft
    for _ in range(200):
        desk.speculator.observe_drafting(desk.asked, seconds=2.0 * len(draft))
    desk.speculator.forget(chunk.sequence.request_id)
    assert desk.draft(chunk) == [()]


def test_ngrams_are_read_again_after_the_start_of_a_sequence_was_discarded() -> None:
    desk = Desk(None)
    chunk = desk.chunk(
        make_speculation(DraftMethod.NGRAM_SIMPLE, n_max=2), [*prompt(30), 5, 6, 7, 8, 5, 6]
    )
    assert desk.draft(chunk) == [(7, 8)]
    del chunk.sequence.tokens[:20]
    chunk.sequence.num_discarded_tokens = 20
    assert desk.draft(chunk) == [(7, 8)]


def test_a_draft_ends_where_the_draft_model_is_not_sure() -> None:
    desk = Desk(MIDDLING, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6])
    desk.confidences = [0.999, 0.999, 0.999, 0.2]
    assert desk.draft(chunk) == [(1, 2, 3)]
    desk.confidences = [0.999] * 6 + [0.2]
    assert desk.draft(chunk) == [(1, 2, 3, 4, 5, 6)]


def test_a_draft_model_that_is_wrongly_sure_is_found_out() -> None:
    desk = Desk(MIDDLING, draft={1: 0.01})
    chunk = desk.chunk(make_speculation(DraftMethod.MODEL), [5, 6])
    desk.confidences = [0.999, 0.97]
    for _ in range(100):
        (draft,) = desk.draft(chunk)
        if draft:  # the tokens of lower confidence are always rejected
            desk.speculator.observe_verified(replace(chunk, draft=draft), 1)
    lengths = [len(desk.draft(chunk)[0]) for _ in range(20)]
    assert set(lengths) <= {0, 1}


def test_what_a_short_answer_saves_must_pay_for_reading_its_prompt() -> None:
    draft = {1: 0.01, 1024: 10.24}  # as slow with each token of a prompt as with a draft token
    for prompt_length, length, is_read in ((10, 400, True), (900, 4, False), (900, 4000, True)):
        desk = Desk(CHEAP, draft)
        model = make_speculation(DraftMethod.MODEL)
        for number in range(60):  # answers of that length have been given before
            answered = desk.chunk(model, [5, *range(10)], slot=number)
            answered.sequence.spec = msgspec.structs.replace(answered.sequence.spec, prompt=[5])
            answered.sequence.tokens += [6] * (length - 10)
            desk.draft(answered)
            desk.speculator.forget(number)
        desk.draft(desk.chunk(model, prompt(prompt_length), slot=99))
        assert bool(desk.asked) == is_read, (prompt_length, length)


def test_drafts_side_by_side_are_as_long_as_llama_cpp_computes_them_together() -> None:
    """A row that only one of two streams has is a micro-batch by itself."""
    table = {1: 1.0, 2: 1.05, 4: 1.1, 8: 1.2, 64: 2.0}
    for layout, lengths in ((Layout(512), [2, 2]), (ONE_STREAM, [3, 2])):
        desk = Desk(table, draft={1: 0.001, 64: 0.001}, layout=layout)
        chunks = [
            desk.chunk(make_speculation(DraftMethod.MODEL, n_max=most), [5, 6], slot)
            for slot, most in enumerate((3, 2))
        ]
        assert [len(draft) for draft in desk.draft(*chunks)] == lengths
