"""Chunks of cells that are reused at other positions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.abilities import CacheAbilities
from scheduler.kv_cache.chunk_reuse import Reuse, find_chunks
from tests.support.fake_backend import FakeBackend
from tests.support.scheduling import alone, make_engine, make_request, prompt, run

tokens = st.lists(st.integers(0, 2), max_size=40)


@given(tokens, tokens, tokens, st.integers(1, 5))
def test_the_cells_hold_the_prompt_once_the_gaps_are_closed(
    prefix: list[int], held: list[int], wanted: list[int], shortest: int
) -> None:
    cells, wanted = [*prefix, *held], [*prefix, *wanted, 9]
    reuse = find_chunks(cells, wanted, len(prefix), shortest)
    for start, stop in reuse.gaps:
        assert len(prefix) <= start < stop
        del cells[start:stop]
    assert cells[: reuse.length] == wanted[: reuse.length]
    assert len(prefix) <= reuse.length < len(wanted)


def test_chunks_are_found_in_order() -> None:
    held = [*prompt(50), *prompt(10, 1), *prompt(40, 2), *prompt(10, 3), *prompt(30, 4)]
    wanted = [*prompt(50), *prompt(40, 2), *prompt(30, 4), 5]
    assert find_chunks(held, wanted, 50, 20) == Reuse(((50, 60), (90, 100)), 120)


def test_short_chunks_are_not_worth_it() -> None:
    held = [*prompt(50), *prompt(10, 1), *prompt(19, 2)]
    assert find_chunks(held, [*prompt(50), *prompt(19, 2), 5], 50, 20) == Reuse((), 50)


BEFORE = [*prompt(60), *prompt(20, 1), *prompt(80, 2)]
AFTER = [*prompt(60), *prompt(80, 2), *prompt(10, 3)]


def second_turn(backend: FakeBackend, salt: str = "", chunk: int = 30) -> int:
    """Prompt tokens that came from the cache after an edit in the middle of the prompt."""
    engine = make_engine(backend)
    run(engine, make_request(1, BEFORE, max_tokens=1))
    edited = make_request(2, AFTER, max_tokens=5, min_reused_chunk=chunk, cache_salt=salt)
    outcome = run(engine, edited)[2]
    assert outcome.answer == alone(edited, backend).answer
    return outcome.num_cached


def test_what_lies_behind_an_edit_is_reused_on_request() -> None:
    assert second_turn(FakeBackend()) == 140
    assert second_turn(FakeBackend(), chunk=0) == 60
    assert second_turn(FakeBackend(), chunk=100) == 60


def test_nobody_else_s_chunks_are_reused() -> None:
    assert second_turn(FakeBackend(n_slots=1), salt="another tenant") == 0


def test_a_memory_whose_cells_can_not_be_moved_reuses_the_prefix() -> None:
    assert second_turn(FakeBackend(abilities=replace(CacheAbilities(), can_shift=False))) == 60


def test_moved_chunks_serve_nobody_else() -> None:
    backend = FakeBackend(n_slots=2)
    engine = make_engine(backend, cache_bytes=1000)
    run(engine, make_request(1, BEFORE, max_tokens=1))
    run(engine, make_request(2, AFTER, max_tokens=1, min_reused_chunk=30))
    outcome = run(engine, make_request(3, [*AFTER, 7], max_tokens=1))[3]
    assert outcome.num_cached == 60
