"""Batches are padded where more rows take less time."""

from __future__ import annotations

import itertools

import pytest

from protocol.events import Generated
from protocol.sampling import SamplingParams
from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import CHANGES_BETWEEN_TRIALS, Grouping
from scheduler.batching.micro_batches import Layout
from scheduler.core.step import Chunk, PaddingRow
from scheduler.engine.calibration import Costs
from scheduler.engine.engine import Engine
from tests.support.fake_backend import FakeBackend
from tests.support.requests import add_request
from tests.support.scheduling import make_sequence

BY_FOURS = {1: 5.0, 2: 9.0, 3: 9.5, 4: 6.0, 5: 12.0, 6: 12.0, 7: 12.0, 8: 9.0}
RISING = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
ALWAYS_PADDED = {1: 1000.0, 2: 900.0, 3: 800.0, 4: 1.0}
DEEP = 600
CELLS = 768
"""What attention reads at this depth."""


def decodes(*slots: int, stop: int = DEEP) -> list[Chunk]:
    sequence = make_sequence(range(10, 100))
    return [Chunk(sequence, slot, stop - 1, stop, True, is_decode=True) for slot in slots]


def padding_rows(
    table: dict[int, float], busy: list[int], padding_rows: list[int], *, unified: bool = False
) -> list[int]:
    grouping = Grouping(StepCost(table, table), Layout(512, is_unified=unified))
    return padded(grouping, decodes(*busy), [PaddingRow(slot, 7) for slot in padding_rows])


def padded(grouping: Grouping, chunks: list[Chunk], padding_rows: list[PaddingRow]) -> list[int]:
    """The slots of the padding rows. All chunks are computed."""
    batches = grouping.batches(chunks, padding_rows)
    assert [chunk for batch in batches for chunk in batch.chunks] == chunks
    return [padding_row.slot for batch in batches for padding_row in batch.padding_rows]


def test_idle_slots_fill_up_to_where_it_is_cheap() -> None:
    assert padding_rows(BY_FOURS, [0, 1], [2, 3, 4, 5]) == [2, 3]
    assert padding_rows(BY_FOURS, [2, 3, 4, 5, 6], [0, 1, 7]) == [0, 1, 7]


def test_where_rows_cost_what_they_are_nothing_is_added() -> None:
    assert padding_rows(RISING, [0], [1, 2, 3]) == []
    assert padding_rows(BY_FOURS, [0, 1, 2, 3], [4, 5, 6, 7]) == []


def test_too_few_idle_slots_are_no_help() -> None:
    assert padding_rows(BY_FOURS, [0, 1], [2]) == []


def test_a_gap_is_filled_where_micro_batches_are_dear() -> None:
    """With a stream for each slot, llama.cpp cuts a batch at each gap."""
    flat = {1: 5.0, 8: 6.0}
    assert padding_rows(flat, [0, 2], [1, 5]) == [1]
    assert padding_rows(flat, [0, 2], [1, 5], unified=True) == []


GPU = {1: 4.0, 8: 8.0, 32: 10.0, 64: 15.0}


@pytest.mark.parametrize(
    "busy",
    [
        list(range(0, 32, 2)),
        [0, 1, 2, 5, 6, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 30, 31],
        [3, 9],
        [slot for slot in range(64) if slot % 3],
    ],
)
def test_many_gaps_are_filled(busy: list[int]) -> None:
    gaps = [slot for slot in range(busy[0], busy[-1]) if slot not in busy]
    idle = [slot for slot in range(66) if slot not in busy]
    assert padding_rows(GPU, busy, idle) == gaps


def test_gaps_that_can_not_be_filled_stay_and_the_others_are_filled() -> None:
    assert padding_rows(GPU, [0, 2, 4, 9, 11], [1, 3, 5, 6, 8, 10]) == [1, 3, 10]


def test_large_gaps_stay_where_rows_are_dear() -> None:
    dear = {1: 4.0, 2: 5.0, 40: 43.0}  # a row takes a second, a pass three
    assert padding_rows(dear, [0, 2, 30], [1, *range(3, 30)]) == [1]


def test_a_slot_that_is_deeper_than_the_busy_ones_is_left_alone() -> None:
    """Attention of every row would read as deep as that slot."""
    grouping = Grouping(StepCost(BY_FOURS, BY_FOURS), Layout(512))
    assert (
        padded(grouping, decodes(0, 1), [PaddingRow(2, CELLS), PaddingRow(3, 7), PaddingRow(4, 7)])
        == []
    )
    assert padded(grouping, decodes(0, 1), [PaddingRow(2, 0), PaddingRow(3, CELLS - 1)]) == [2, 3]


def test_prompts_and_drafts_are_not_padded() -> None:
    grouping = Grouping(StepCost(BY_FOURS, BY_FOURS), Layout(512))
    padding_rows = [PaddingRow(2, 0), PaddingRow(3, 0)]
    sequence = make_sequence(range(10, 100))
    prompt = [Chunk(sequence, slot, 0, 9, True) for slot in (0, 1)]
    assert padded(grouping, prompt, padding_rows) == []
    drafted = [Chunk(sequence, slot, 8, 9, True, is_decode=True, draft=(1,)) for slot in (0, 1)]
    assert padded(grouping, drafted, padding_rows) == []
    assert padded(Grouping(None, Layout(512)), decodes(0, 1), padding_rows) == []


def test_several_batches_are_better_than_padding_where_they_take_less() -> None:
    table = {1: 2.0, 2: 9.0, 3: 9.5, 4: 6.0}
    assert padding_rows(table, [0, 1], [2, 3]) == []
    assert padding_rows(table, [0, 1, 2, 3], []) == []


def test_now_and_then_it_is_tried_without() -> None:
    grouping = Grouping(StepCost(BY_FOURS, BY_FOURS), Layout(512))
    padding_rows = [PaddingRow(2, 0), PaddingRow(3, 0)]
    counts = [
        len(padded(grouping, decodes(0, 1), padding_rows)) for _ in range(CHANGES_BETWEEN_TRIALS)
    ]
    assert counts == [2] * (CHANGES_BETWEEN_TRIALS - 1) + [0]


@pytest.mark.parametrize("n_ctx", [0, 100])
def test_answers_are_the_same_as_without_padding(n_ctx: int) -> None:
    """Answers begin one after the other, so idle slots hold cells of earlier ones."""

    def run(costs: Costs) -> tuple[dict[int, list[int]], int]:
        backend = FakeBackend(n_slots=4, n_ctx_slot=64, n_ctx=n_ctx)
        engine = Engine(backend, itertools.count().__next__, itl_target=1e9, costs=costs)
        answers: dict[int, list[int]] = {number: [] for number in range(12)}
        for step in range(400):
            number, rest = divmod(step, 5)
            if rest == 0 and number in answers:
                prompt = [3 + number % 5, 7, 8, 9 + number]
                engine.add_request(
                    add_request(
                        request_id=number, prompt=prompt, sampling=SamplingParams(), max_tokens=30
                    )
                )
            for event in engine.step().outputs().events:
                if isinstance(event, Generated):
                    answers[event.request_id] += event.tokens
        assert not engine.has_work
        return answers, backend.num_padding_rows

    plain, none = run(Costs())
    changed, some = run(Costs(StepCost(ALWAYS_PADDED, ALWAYS_PADDED)))
    assert none == 0 < some
    assert changed == plain
