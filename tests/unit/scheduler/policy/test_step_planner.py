"""What each sequence computes in a step, and how much room a step has for drafts and padding."""

from __future__ import annotations

from protocol.commands import DraftMethod, Speculation
from scheduler.core.abilities import CacheAbilities
from scheduler.core.step import PaddingRow
from tests.support.scheduling import (
    make_request,
    make_scheduler,
    prompt,
    rows,
    run_step,
    submit_all,
)

DRAFTING = Speculation(methods=(DraftMethod.MODEL,), n_max=8)


def test_decodes_come_first_even_if_they_fill_the_batch() -> None:
    scheduler = make_scheduler(n_slots=4, n_batch=4)
    submit_all(scheduler, 1, 1, 1)
    run_step(scheduler)
    scheduler.add_request(make_request(9, prompt(50, family=9)))
    step, _ = run_step(scheduler)
    assert rows(step) == {1: 1, 2: 1, 3: 1, 9: 1}


def test_the_prompt_with_the_fewest_tokens_left_is_done_first() -> None:
    scheduler = make_scheduler(n_slots=3, n_ctx_slot=512, n_batch=210)
    submit_all(scheduler, 500, 4, 450)
    step, _ = run_step(scheduler)
    assert rows(step) == {2: 4, 3: 206}


def test_a_prompt_of_higher_priority_is_done_first() -> None:
    scheduler = make_scheduler(n_slots=3, n_ctx_slot=512, n_batch=64)
    for request_id, (length, priority) in enumerate([(70, 0), (300, 1), (80, 1)]):
        own = prompt(length, family=request_id)
        scheduler.add_request(make_request(request_id, own, priority=priority))
    steps = [rows(run_step(scheduler)[0]) for _ in range(3)]
    assert steps == [{2: 64}, {2: 16}, {2: 1, 1: 63}]


def test_of_equal_prompts_the_first_one_is_done_first() -> None:
    scheduler = make_scheduler(n_slots=3, n_ctx_slot=512, n_batch=64)
    submit_all(scheduler, 150, 150, 150)
    steps = [rows(run_step(scheduler)[0]) for _ in range(4)]
    assert steps == [{1: 64}, {1: 64}, {1: 22}, {1: 1, 2: 63}]


def test_a_step_has_no_more_prompts_than_are_computed_at_once() -> None:
    """With all of them in one step the first would have to wait for the last."""
    scheduler = make_scheduler(n_slots=4, n_ctx_slot=512, n_batch=512, rows_at_once=128)
    submit_all(scheduler, 64, 64, 64, 200)
    steps = [rows(run_step(scheduler)[0]) for _ in range(3)]
    assert steps == [{1: 64, 2: 64}, {1: 1, 2: 1, 3: 64, 4: 64}, {1: 1, 2: 1, 3: 1, 4: 136}]


def test_short_prompts_that_keep_coming_do_not_hold_up_a_long_one() -> None:
    scheduler = make_scheduler(n_slots=3, n_ctx_slot=512, n_batch=64)
    scheduler.add_request(make_request(1, prompt(500), max_tokens=1))
    computed = 0
    for number in range(2, 34):
        scheduler.add_request(make_request(number, prompt(64, number), max_tokens=1))
        step, _ = run_step(scheduler)
        computed += rows(step).get(1, 0)
    assert computed == 500


def test_chunks_come_in_slot_order() -> None:
    scheduler = make_scheduler(n_slots=3)
    for request_id, slot in ((1, 2), (2, 0), (3, 1)):
        scheduler.add_request(make_request(request_id, prompt(4, request_id), slot=slot))
    step, _ = run_step(scheduler)
    assert [chunk.slot for chunk in step.chunks] == [0, 1, 2]


def test_a_shared_prefix_is_where_others_join() -> None:
    """Once the common part is computed, the different rests are computed together."""
    scheduler = make_scheduler(n_slots=3, n_ctx_slot=256, n_batch=256)
    common = prompt(100)
    for request_id in (1, 2, 3):
        own = prompt(40, family=request_id)
        scheduler.add_request(make_request(request_id, [*common, *own]))
    assert rows(run_step(scheduler)[0]) == {1: 100}
    assert rows(run_step(scheduler)[0]) == {1: 40, 2: 40, 3: 40}


def test_room_for_drafts_is_shared_equally() -> None:
    scheduler = make_scheduler(n_slots=3, n_batch=13, n_outputs=13)
    for request_id in (1, 2):
        request = make_request(request_id, prompt(4, request_id), speculation=DRAFTING)
        scheduler.add_request(request)
    run_step(scheduler)
    scheduler.add_request(make_request(3, prompt(3, 3)))
    step, _ = run_step(scheduler)
    assert [chunk.max_draft for chunk in step.chunks] == [4, 4, 0]


def test_a_draft_does_not_exceed_the_answer_or_the_slot() -> None:
    scheduler = make_scheduler(n_slots=2, n_ctx_slot=12, n_outputs=32)
    scheduler.add_request(make_request(1, prompt(2, 1), speculation=DRAFTING, max_tokens=5))
    scheduler.add_request(make_request(2, prompt(5, 2), speculation=DRAFTING))
    run_step(scheduler)
    step, _ = run_step(scheduler)
    assert [chunk.max_draft for chunk in step.chunks] == [3, 6]


def test_a_cache_that_cannot_drop_cells_gets_neither_drafts_nor_padding() -> None:
    scheduler = make_scheduler(n_outputs=32, abilities=CacheAbilities(can_trim=False))
    scheduler.add_request(make_request(1, speculation=DRAFTING))
    run_step(scheduler)
    step, _ = run_step(scheduler)
    assert [chunk.max_draft for chunk in step.chunks] == [0]
    assert step.padding_rows == ()


def test_a_draft_has_no_more_tokens_than_the_memory_can_take_back() -> None:
    abilities = CacheAbilities(can_trim=False, max_rollback=5)
    scheduler = make_scheduler(n_outputs=32, abilities=abilities)
    scheduler.add_request(make_request(1, speculation=DRAFTING))
    run_step(scheduler)
    step, _ = run_step(scheduler)
    assert [chunk.max_draft for chunk in step.chunks] == [5]
    assert step.padding_rows == ()


def test_idle_slots_get_padding_rows_if_batch_and_cache_have_room() -> None:
    scheduler = make_scheduler(n_slots=3)
    submit_all(scheduler, 5)
    assert run_step(scheduler)[0].padding_rows == (PaddingRow(1, 0), PaddingRow(2, 0))
    crowded = make_scheduler(n_slots=3, n_batch=7)
    submit_all(crowded, 5)
    assert run_step(crowded)[0].padding_rows == ()
