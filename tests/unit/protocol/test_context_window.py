"""The window of an answer that outgrows its slot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import MOST_SHIFTS, ContextShift
from protocol.context_window import Window
from protocol.events import FinishReason
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import make_engine, make_request, make_sequence, prompt, run

shifts = st.builds(ContextShift, keep=st.integers(0, 100), discard=st.integers(0, 100))


@given(shifts, st.integers(1, 64))
def test_a_window_always_discards_something_and_never_everything(
    shift: ContextShift, n_ctx: int
) -> None:
    window = Window.of(shift, n_ctx)
    assert 0 <= window.keep <= max(n_ctx - 4, 0)
    assert 1 <= window.discard <= n_ctx - window.keep


@given(shifts, st.integers(1, 64), st.integers(1, 300))
def test_a_window_fits_its_slot_and_is_reached_in_steps_or_at_once(
    shift: ContextShift, n_ctx: int, length: int
) -> None:
    tokens = list(range(length))
    at_once = make_sequence(tokens[:1], context_shift=shift)
    at_once.tokens, at_once.window = list(tokens), Window.of(shift, n_ctx)
    at_once.discard()
    in_steps = make_sequence(tokens[:1], context_shift=shift)
    in_steps.tokens, in_steps.window = [], at_once.window
    for token in tokens:
        in_steps.tokens.append(token)
        in_steps.discard()
    assert at_once.tokens == in_steps.tokens
    assert len(at_once.tokens) <= max(n_ctx - 1, 1)
    assert len(at_once.tokens) + at_once.num_discarded_tokens == length


@pytest.mark.parametrize(
    ("num_tokens", "keep", "discard", "left"),
    [
        (255, 0, 0, 255),
        (256, 0, 0, 129),
        (303, 0, 0, 176),
        (403, 10, 0, 159),
        (403, 0, 7, 249),
        (703, 20, 50, 253),
        (1003, 4, 0, 253),
    ],
)
def test_as_many_cells_are_used_as_in_llama_server(
    num_tokens: int, keep: int, discard: int, left: int
) -> None:
    """In a slot of 256 cells, after `num_tokens` computed tokens (`tokens_cached` there)."""
    window = Window.of(ContextShift(keep, discard), 256)
    assert num_tokens - window.num_discarded(num_tokens) == left


def test_half_of_what_is_not_kept_goes() -> None:
    backend = FakeBackend(n_slots=1, n_ctx_slot=20)
    request = make_request(1, prompt(10), context_shift=ContextShift(4, 0), max_tokens=12)
    run(make_engine(backend), request)
    answer = run(make_engine(FakeBackend(n_slots=1)), make_request(1, prompt(10), max_tokens=11))[1]
    tokens = [*prompt(10), *answer.tokens]  # the 20th is one more than the window has
    assert backend.cells[0][:13] == [*tokens[:4], *tokens[11:20]]


def test_an_answer_without_end_is_as_long_as_was_asked_for() -> None:
    backend = FakeBackend(n_slots=2, n_ctx_slot=32, n_batch=16)
    request = make_request(1, prompt(20), context_shift=ContextShift(5, 3), max_tokens=500)
    tokens, reason = run(make_engine(backend), request)[1].answer
    assert (len(tokens), reason) == (500, FinishReason.MAX_TOKENS)


def test_without_it_the_answer_ends_where_the_slot_does() -> None:
    backend = FakeBackend(n_slots=2, n_ctx_slot=32, n_batch=16)
    tokens, reason = run(make_engine(backend), make_request(1, prompt(20)))[1].answer
    assert (len(tokens), reason) == (12, FinishReason.CONTEXT_FULL)


def test_shifted_cells_serve_nobody_else() -> None:
    backend = FakeBackend(n_slots=1, n_ctx_slot=100, n_batch=100)
    engine = make_engine(backend, cache_bytes=1000)
    shift = ContextShift(40, 0)
    run(engine, make_request(1, prompt(60), context_shift=shift, max_tokens=60))
    held = list(backend.cells[0])
    outcome = run(engine, make_request(2, [*held, 5], max_tokens=1))[2]
    assert outcome.num_cached == 40
    assert not backend.saved


def test_a_prompt_that_does_not_fit_is_refused_all_the_same() -> None:
    backend = FakeBackend(n_slots=1, n_ctx_slot=32)
    outcome = run(
        make_engine(backend), make_request(1, prompt(33), context_shift=ContextShift(0, 0))
    )
    assert outcome[1].answer == ([], FinishReason.FAILED)


@given(shifts, st.sampled_from((64, 640, 4096, 131072)), st.integers(0, 2**31 - 1))
def test_a_slots_worth_of_tokens_costs_few_shifts(
    shift: ContextShift, n_ctx: int, keep: int
) -> None:
    window = Window.of(ContextShift(keep, shift.discard), n_ctx)
    assert window.discard >= n_ctx // MOST_SHIFTS
