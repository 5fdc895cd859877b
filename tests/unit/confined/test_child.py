"""A confined process and its parent: answers, limits, and what comes after a breach."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from confined.child import Child, Died, TooSlow

MODULE = "tests.support.confined_program"


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(MODULE)
    yield child
    child.close()


def ask(child: Child, question: bytes, cpu_seconds: float = 0.3, wall_seconds: float = 5) -> bytes:
    return child.ask(question, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_answers_of_any_size(child: Child, size: int) -> None:
    assert ask(child, b"echo " + b"x" * size) == b"x" * size


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (b"spin", TooSlow),
        (b"big power", TooSlow),
        (b"sleep", TooSlow),
        (b"grow", Died),
        (b"exit", Died),
        (b"crash", Died),
        (b"raise", Died),
    ],
)
def test_a_breach_ends_the_process_and_the_next_question_gets_a_new_one(
    child: Child, question: bytes, error: type[Exception]
) -> None:
    first = ask(child, b"pid")
    begin = time.monotonic()
    with pytest.raises(error):
        ask(child, question, 10 if question == b"grow" else 0.3, 1 if question == b"sleep" else 20)
    assert time.monotonic() - begin < 15
    assert ask(child, b"echo again") == b"again"
    assert ask(child, b"pid") != first


def test_time_is_counted_by_the_question(child: Child) -> None:
    for _ in range(5):
        assert ask(child, b"work") == b"done"


def test_the_process_limits_its_own_time_in_case_its_parent_is_gone(child: Child) -> None:
    limit = float(ask(child, b"cpu limit", cpu_seconds=7))
    assert 7 <= limit < 12


def test_a_module_that_does_not_start() -> None:
    child = Child("tests.support.there_is_no_such_program")
    with pytest.raises(RuntimeError, match="there_is_no_such_program"):
        ask(child, b"echo")
    child.close()


@pytest.mark.parametrize("first", [b"echo", b"sleep", None])
def test_what_is_asked_of_a_closed_process_has_no_answer(child: Child, first: bytes | None) -> None:
    errors: list[type[BaseException]] = []

    def ask_first() -> None:
        try:
            while first is not None:
                ask(child, first, wall_seconds=60)
        except Exception as error:
            errors.append(type(error))

    asking = threading.Thread(target=ask_first)
    asking.start()
    if first is not None:
        time.sleep(0.05)  # it may be starting then, or answering
    child.close()
    asking.join(60)
    assert errors == ([] if first is None else [Died])
    child.start()
    with pytest.raises(Died):
        ask(child, b"echo")


def test_a_stopped_process_starts_again(child: Child) -> None:
    first = ask(child, b"pid")
    child.stop()
    assert ask(child, b"pid") != first
