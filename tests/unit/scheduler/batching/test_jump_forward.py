"""The number of forced tokens that a step computes."""

from __future__ import annotations

from msgspec.structs import replace

from scheduler.batching.cost_model import StepCost
from scheduler.batching.jump_forward import limit_jump_forward
from scheduler.batching.micro_batches import Layout
from scheduler.core.step import Chunk
from tests.support.scheduling import make_sequence

LAYOUT = Layout(512)

BY_FOURS = StepCost(
    {1: 10.0, 2: 10.5, 4: 11.0, 8: 20.0}, {1: 10.0, 4: 11.0, 8: 20.0, 16: 36.0, 64: 140.0}
)
"""A machine reads the weights in 10 and computes a row in 2."""


def runs(*rows: int, is_decode: bool = True) -> list[Chunk]:
    sequence = make_sequence(range(10, 300))
    return [
        Chunk(sequence, slot, 20, 20 + count, True, is_decode, max_draft=3)
        for slot, count in enumerate(rows)
    ]


def cut(*rows: int, cost: StepCost | None = BY_FOURS, layout: Layout = LAYOUT) -> list[int]:
    return [chunk.num_tokens for chunk in limit_jump_forward(runs(*rows), cost, layout)]


def test_a_run_of_the_only_answer_is_computed_at_once() -> None:
    assert cut(17) == [17]


def test_runs_of_one_length_are_computed_together() -> None:
    assert cut(8, 8, 8, 8) == [8, 8, 8, 8]


def test_a_row_that_would_be_computed_by_itself_waits() -> None:
    assert cut(1, 1, 2, 1) == [1, 1, 1, 1]


def test_a_run_that_is_worth_a_pass_of_its_own_does_not_wait() -> None:
    assert cut(1, 1, 30, 1) == [1, 1, 30, 1]


def test_neighbours_stop_where_going_on_is_not_worth_it() -> None:
    assert cut(9, 8, 8, 8) == [8, 8, 8, 8]


def test_the_first_part_of_a_run_yields_no_token_and_no_draft() -> None:
    chunk = limit_jump_forward(runs(1, 1, 2, 1), BY_FOURS, LAYOUT)[2]
    assert (chunk.start, chunk.stop, chunk.wants_logits, chunk.max_draft) == (20, 21, False, 0)
    whole = runs(1, 1, 2, 1)[1]
    assert limit_jump_forward([whole], BY_FOURS, LAYOUT) == (whole,)


def test_prompts_are_left_alone() -> None:
    prompt = replace(runs(1, 2)[1], is_decode=False)
    assert limit_jump_forward([runs(1)[0], prompt], BY_FOURS, LAYOUT)[1] == prompt


def test_nothing_is_cut_without_costs_or_where_all_rows_are_computed_together() -> None:
    assert cut(1, 1, 2, 1, cost=None) == [1, 1, 2, 1]
    assert cut(1, 1, 2, 1, layout=Layout(512, is_unified=True)) == [1, 1, 2, 1]
