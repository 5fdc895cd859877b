"""How the chunks of a step are divided into batches."""

from __future__ import annotations

from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import CHANGES_BETWEEN_TRIALS, MAX_CHUNKS, Grouping
from scheduler.batching.micro_batches import Layout, MicroBatch
from scheduler.core.step import Chunk
from tests.support.scheduling import make_sequence

LAYOUT = Layout(512)


def chunks(*rows: int) -> list[Chunk]:
    sequence = make_sequence(range(10, 300))
    return [
        Chunk(sequence, slot, 0, count, wants_logits=True, is_decode=count == 1)
        for slot, count in enumerate(rows)
    ]


def sizes(table: dict[int, float], *rows: int) -> list[int]:
    batches = [b.chunks for b in Grouping(StepCost(table, table), LAYOUT).batches(chunks(*rows))]
    assert [c.slot for batch in batches for c in batch] == list(range(len(rows)))
    return [len(batch) for batch in batches]


def test_rows_that_are_dearer_together_are_computed_apart() -> None:
    assert sizes({1: 2.6, 2: 8.6, 3: 11.0, 4: 12.0}, 1, 1, 1) == [1, 1, 1]


def test_rows_that_are_cheaper_together_stay_together() -> None:
    assert sizes({1: 5.0, 2: 6.0, 4: 8.0}, 1, 1, 1, 1) == [4]


def test_a_cliff_is_avoided() -> None:
    """Four rows at once are cheap and five are not, so five become four and one."""
    table = {1: 5.0, 2: 8.0, 3: 9.0, 4: 10.0, 5: 25.0, 6: 28.0}
    assert sorted(sizes(table, 1, 1, 1, 1, 1)) == [1, 4]


def test_a_small_gain_is_not_worth_a_batch_more() -> None:
    assert sizes({1: 5.0, 2: 10.2}, 1, 1) == [2]


def test_answers_are_not_divided_without_costs() -> None:
    assert [len(b.chunks) for b in Grouping(None, LAYOUT).batches(chunks(1, 1, 1))] == [3]


def slots(grouping: Grouping, *rows: int) -> list[list[int]]:
    return [[chunk.slot for chunk in batch.chunks] for batch in grouping.batches(chunks(*rows))]


def test_prompts_are_computed_apart_from_answers() -> None:
    """Beside a prompt's first row, answers would read as many cells as the prompt has."""
    assert slots(Grouping(None, LAYOUT), 1, 1, 4) == [[0, 1], [2]]
    flat = StepCost({1: 5.0, 512: 5.0}, {1: 5.0, 512: 5.0})
    assert slots(Grouping(flat, LAYOUT), 1, 1, 4, 4) == [[0, 1], [2, 3]]


def test_prompts_between_answers_stay_if_a_piece_more_costs_too_much() -> None:
    assert slots(Grouping(None, LAYOUT), 1, 4, 1) == [[0, 1, 2]]
    flat = StepCost({1: 5.0, 512: 5.0}, {1: 5.0, 512: 5.0})
    assert slots(Grouping(flat, LAYOUT), 1, 4, 1) == [[0, 1, 2]]
    steep = StepCost({1: 1.0, 512: 512.0}, {1: 1.0, 512: 512.0})
    assert slots(Grouping(steep, LAYOUT), 1, 64, 1) == [[0, 2], [1]]


def test_in_one_stream_prompts_and_answers_are_one_piece() -> None:
    assert slots(Grouping(None, Layout(512, is_unified=True)), 1, 1, 4) == [[0, 1, 2]]


def test_many_chunks_stay_together() -> None:
    assert sizes({1: 1.0, 64: 1000.0}, *[1] * (MAX_CHUNKS + 1)) == [MAX_CHUNKS + 1]


def test_no_chunks_no_batch() -> None:
    assert Grouping(None, LAYOUT).batches([]) == []


def test_it_finds_out_that_the_costs_were_measured_wrong() -> None:
    """Two rows at once take 2.5, not 8. Only the trials show that."""
    cost = StepCost({1: 2.0, 2: 8.0}, {1: 2.0, 2: 8.0})
    grouping = Grouping(cost, LAYOUT)
    assert len(grouping.batches(chunks(1, 1))) == 2
    for _ in range(150 * CHANGES_BETWEEN_TRIALS):
        for batch in grouping.batches(chunks(1, 1)):
            rows = len(batch.chunks)
            cost.observe([MicroBatch(rows, rows)], 2.0 if rows == 1 else 2.5)
    assert len(grouping.batches(chunks(1, 1))) == 1


def with_drafts(layout: Layout, *runs: tuple[int, int]) -> list[list[int]]:
    """Slots of each batch, for chunks by their rows and draft tokens."""
    sequence = make_sequence(range(10, 300))
    chunks = [
        Chunk(sequence, slot, 0, rows, True, is_decode=rows < 8, draft=(1,) * length)
        for slot, (rows, length) in enumerate(runs)
    ]
    flat = StepCost({1: 5.0, 512: 5.0}, {1: 5.0, 512: 5.0})
    found = [
        [[chunk.slot for chunk in batch.chunks] for batch in Grouping(cost, layout).batches(chunks)]
        for cost in (None, flat)
    ]
    assert found[0] == found[1]
    return found[0]


WHOLE_DRAFTS = Layout(64, has_whole_drafts=True)
WHOLE_DRAFTS_IN_ONE_STREAM = Layout(64, is_unified=True, has_whole_drafts=True)


def test_a_draft_that_may_not_be_cut_is_a_batch_of_one_micro_batch() -> None:
    assert with_drafts(WHOLE_DRAFTS, (1, 4), (1, 4), (1, 4)) == [[0, 1, 2]]
    assert with_drafts(WHOLE_DRAFTS, (1, 4), (1, 0), (1, 0)) == [[1, 2], [0]]
    assert with_drafts(WHOLE_DRAFTS, (1, 4), (1, 4), (1, 3), (2, 2)) == [[0, 1], [2, 3]]
    assert with_drafts(WHOLE_DRAFTS, (1, 4), (1, 0), (1, 4)) == [[1], [0], [2]]
    assert with_drafts(WHOLE_DRAFTS, (1, 40), (1, 40)) == [[0], [1]]


def test_prompts_come_before_drafts_that_may_not_be_cut() -> None:
    assert with_drafts(WHOLE_DRAFTS, (1, 4), (30, 0)) == [[1], [0]]
    assert with_drafts(WHOLE_DRAFTS_IN_ONE_STREAM, (1, 4), (60, 0)) == [[1], [0]]


def test_in_one_stream_drafts_are_one_micro_batch_with_all_that_has_room() -> None:
    assert with_drafts(WHOLE_DRAFTS_IN_ONE_STREAM, (1, 4), (1, 0), (30, 0)) == [[0, 1, 2]]
    assert with_drafts(WHOLE_DRAFTS_IN_ONE_STREAM, (1, 4), (1, 0), (60, 0)) == [[2], [0, 1]]
    assert with_drafts(WHOLE_DRAFTS_IN_ONE_STREAM, (1, 40), (1, 0), (1, 40)) == [[1], [0], [2]]


def test_a_draft_that_may_be_cut_stays_with_the_others() -> None:
    assert with_drafts(LAYOUT, (1, 4), (1, 0), (1, 3)) == [[0, 1, 2]]
