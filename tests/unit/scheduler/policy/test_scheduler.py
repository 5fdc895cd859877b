"""Policy without an engine: who starts, who gives way, and how answers grow and end."""

from __future__ import annotations

from collections import abc

import pytest

from protocol.commands import UNLIMITED
from protocol.events import Event, Finished, FinishReason, Generated, Prefilled
from scheduler.core.cache_edits import CopyPrefix, Trim
from scheduler.core.results import Sample, SampledRun, SampleFailed
from scheduler.core.step import Step
from tests.support.fake_backend import END_TOKEN
from tests.support.scheduling import (
    make_request,
    make_scheduler,
    prompt,
    rows,
    run_step,
    submit_all,
)


def finished(events: abc.Sequence[Event]) -> dict[int, FinishReason]:
    """By request, why it ended."""
    return {event.request_id: event.reason for event in events if isinstance(event, Finished)}


class TestAddRequest:
    @pytest.mark.parametrize(
        ("tokens", "fields"),
        [
            ([], {}),
            (prompt(65), {}),
            (prompt(60), {"resumed": prompt(5)}),
            ([1], {"slot": 2}),
            ([1], {"lora": (("unknown", 1.0),)}),
        ],
        ids=["empty", "too long", "too long with its answer", "no such slot", "no such adapter"],
    )
    def test_what_cannot_run_is_refused_at_once(
        self, tokens: list[int], fields: dict[str, object]
    ) -> None:
        scheduler = make_scheduler()
        events = scheduler.add_request(make_request(4, tokens, **fields))
        assert finished(events) == {4: FinishReason.FAILED}
        assert not scheduler.has_work

    def test_a_prompt_as_long_as_the_slot_is_taken(self) -> None:
        assert not make_scheduler().add_request(make_request(1, prompt(64)))


def starts(step: Step) -> list[tuple[int, int, int]]:
    """The sequences that a step starts: request, slot, cached tokens."""
    return [(one.request_id, one.slot, one.num_cached_tokens) for one in step.started]


class TestBatch:
    def test_a_short_prompt_is_computed_and_sampled_in_one_step(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 5)
        step, events = run_step(scheduler)
        assert starts(step) == [(1, 0, 0)]
        assert events == [Generated(1, [100], [])]

    def test_a_long_prompt_takes_several_steps_and_yields_nothing_before_the_last(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 40)
        first, events = run_step(scheduler)
        assert (rows(first), events) == ({1: 32}, [])
        second, events = run_step(scheduler)
        assert (rows(second), events) == ({1: 8}, [Generated(1, [100], [])])

    def test_a_running_answer_goes_on_while_a_prompt_is_computed(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 3, 60)
        run_step(scheduler)
        step, events = run_step(scheduler)
        assert rows(step) == {1: 1, 2: 31}
        assert Generated(1, [100], []) in events

    def test_a_queue_is_served_in_order(self) -> None:
        scheduler = make_scheduler(n_slots=1)
        for request_id in (1, 2, 3):
            scheduler.add_request(make_request(request_id, prompt(3, request_id), max_tokens=1))
        order = [event.request_id for _ in range(3) for event in run_step(scheduler)[0].started]
        assert order == [1, 2, 3]

    def test_one_that_waits_for_its_slot_does_not_hold_up_the_queue(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(1, prompt(3, 1), slot=0))
        run_step(scheduler)
        scheduler.add_request(make_request(2, prompt(3, 2), slot=0))
        scheduler.add_request(make_request(3, prompt(3, 3)))
        step, _ = run_step(scheduler)
        assert starts(step) == [(3, 1, 0)]

    def test_identical_prompts_are_computed_once(self) -> None:
        scheduler = make_scheduler(n_batch=64)
        for request_id in (1, 2):
            scheduler.add_request(make_request(request_id, prompt(50)))
        first, _ = run_step(scheduler)
        assert rows(first) == {1: 50}
        second, _ = run_step(scheduler)
        assert second.edits == (CopyPrefix(0, 1, 49),)
        assert starts(second) == [(2, 1, 49)]
        assert rows(second) == {1: 1, 2: 1}

    def test_a_waiter_goes_on_alone_when_the_one_it_waits_for_is_aborted(self) -> None:
        scheduler = make_scheduler(n_batch=40)
        for request_id in (1, 2):
            scheduler.add_request(make_request(request_id, prompt(60)))
        run_step(scheduler)
        scheduler.abort([1])
        step, _ = run_step(scheduler)
        assert starts(step) == [(2, 0, 40)]

    def test_what_a_slot_holds_beyond_the_shared_prefix_is_dropped(self) -> None:
        scheduler = make_scheduler(n_slots=1)
        scheduler.add_request(make_request(1, [*prompt(10), 5, 6], max_tokens=1))
        run_step(scheduler)
        scheduler.add_request(make_request(2, [*prompt(10), 7]))
        step, _ = run_step(scheduler)
        assert step.edits == (Trim(0, 10),)
        assert starts(step) == [(2, 0, 10)]


class TestEnd:
    def test_max_tokens(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(max_tokens=2))
        assert finished(run_step(scheduler)[1]) == {}
        assert finished(run_step(scheduler)[1]) == {1: FinishReason.MAX_TOKENS}

    def test_no_tokens_at_all(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(tokens=prompt(40), max_tokens=0))
        assert run_step(scheduler)[1] == []
        step, events = run_step(scheduler)
        assert not list(step.sampled())
        assert events == [Finished(1, FinishReason.MAX_TOKENS)]
        assert scheduler.cache.slots[0].num_tokens == 40

    def test_an_end_token_is_the_last_of_the_answer(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(max_tokens=1))
        _, events = run_step(scheduler, END_TOKEN)
        assert events == [Generated(1, [END_TOKEN], []), Finished(1, FinishReason.STOP)]

    @pytest.mark.parametrize(("size", "num_prompt"), [(8, 6), (8, 7), (8, 1), (33, 20)])
    def test_prompt_and_answer_fill_the_context(self, size: int, num_prompt: int) -> None:
        scheduler = make_scheduler(n_ctx_slot=size)
        scheduler.add_request(make_request(tokens=prompt(num_prompt), max_tokens=UNLIMITED))
        ends = [finished(run_step(scheduler)[1]) for _ in range(size - num_prompt)]
        assert ends == [*[{}] * (size - num_prompt - 1), {1: FinishReason.CONTEXT_FULL}]
        assert scheduler.cache.slots[0].num_tokens == size - 1

    def test_the_last_token_that_fits_ends_by_its_own_limit(self) -> None:
        scheduler = make_scheduler(n_ctx_slot=8)
        scheduler.add_request(make_request(tokens=prompt(8), max_tokens=1))
        assert finished(run_step(scheduler)[1]) == {1: FinishReason.MAX_TOKENS}

    def test_a_failed_sample_ends_only_its_own_sequence(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 3, 3)
        step = scheduler.schedule()
        events = scheduler.update(
            step, [SampleFailed("no token is allowed"), SampledRun((Sample(100),))]
        )
        assert Finished(1, FinishReason.FAILED, "no token is allowed") in events
        assert [s.request_id for s in scheduler.running] == [2]


class TestAbort:
    def test_in_the_queue(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 3)
        assert finished(scheduler.abort([1])) == {1: FinishReason.ABORTED}
        assert not scheduler.has_work

    def test_in_its_prompt(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 60)
        run_step(scheduler)
        assert finished(scheduler.abort([1])) == {1: FinishReason.ABORTED}
        assert scheduler.cache.slots[0].tokens == prompt(60, family=1)[:32]

    def test_in_its_answer(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 3)
        run_step(scheduler)
        run_step(scheduler)
        assert finished(scheduler.abort([1])) == {1: FinishReason.ABORTED}
        assert scheduler.cache.slots[0].tokens == [*prompt(3, family=1), 100]

    def test_of_one_that_is_gone_is_no_news(self) -> None:
        scheduler = make_scheduler()
        submit_all(scheduler, 3)
        scheduler.abort([1])
        assert scheduler.abort([1, 99]) == []

    def test_frees_the_slot_for_the_next_step(self) -> None:
        scheduler = make_scheduler(n_slots=1)
        submit_all(scheduler, 3, 3)
        run_step(scheduler)
        scheduler.abort([1])
        assert starts(run_step(scheduler)[0]) == [(2, 0, 0)]


class TestProgress:
    def test_is_reported_for_every_chunk_of_the_prompt(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(tokens=prompt(60), report_progress=True))
        seen = [event for _ in range(3) for event in run_step(scheduler)[1]]
        assert [e.num_computed_tokens for e in seen if isinstance(e, Prefilled)] == [32, 60]

    def test_is_not_reported_unasked(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(tokens=prompt(60)))
        assert run_step(scheduler)[1] == []


class TestResumed:
    def test_what_was_answered_is_computed_again_and_not_reported_again(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(tokens=prompt(5), resumed=[101, 102], max_tokens=3))
        step, events = run_step(scheduler)
        assert rows(step) == {1: 7}
        assert events == [Generated(1, [100], []), Finished(1, FinishReason.MAX_TOKENS)]

    def test_cached_tokens_are_counted_of_the_prompt_only(self) -> None:
        scheduler = make_scheduler()
        scheduler.add_request(make_request(1, [*prompt(5), 101, 102], max_tokens=1))
        run_step(scheduler)
        scheduler.add_request(make_request(2, prompt(5), resumed=[101, 102], slot=0))
        assert starts(run_step(scheduler)[0]) == [(2, 0, 5)]


class TestUnified:
    """All slots share cells, fewer than the slots could use."""

    def test_idle_prefixes_make_room_first_oldest_first(self) -> None:
        scheduler = make_scheduler(n_slots=3, n_ctx=64, n_batch=64)
        for request_id, length in ((1, 10), (2, 20)):
            scheduler.add_request(
                make_request(request_id, prompt(length, request_id), max_tokens=1)
            )
            run_step(scheduler)
        scheduler.add_request(make_request(3, prompt(40, 3)))
        step, _ = run_step(scheduler)
        assert Trim(0, 0) in step.edits
        assert rows(step) == {3: 40}
        assert scheduler.cache.num_tokens == 60

    def test_the_latest_sequence_gives_way_and_the_oldest_goes_on(self) -> None:
        scheduler = make_scheduler(n_ctx=64, n_batch=64)
        submit_all(scheduler, 31, 31)
        run_step(scheduler)
        run_step(scheduler)
        step, _ = run_step(scheduler)
        assert rows(step) == {1: 1}
        assert [s.request_id for s in scheduler.waiting] == [2]

    def test_a_preempted_sequence_is_first_in_the_queue(self) -> None:
        scheduler = make_scheduler(n_ctx=64, n_batch=64)
        submit_all(scheduler, 31, 31, 5)
        for _ in range(3):
            run_step(scheduler)
        assert [s.request_id for s in scheduler.waiting] == [2, 3]

    def test_a_preempted_sequence_keeps_its_answer_and_is_not_started_again(self) -> None:
        scheduler = make_scheduler(n_ctx=64, n_batch=64)
        submit_all(scheduler, 31, 31)
        for _ in range(3):
            run_step(scheduler)
        scheduler.abort([1])
        step, events = run_step(scheduler)
        assert step.started == ()
        assert rows(step) == {2: 33}
        assert events == [Generated(2, [100], [])]
