"""A confined process and its parent: answers, limits, and what comes after a breach."""

from __future__ import annotations

import contextlib
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


@pytest.fixture
def interruptible() -> Iterator[Child]:
    child = Child(MODULE, {"INTERRUPTIBLE": "1"}, grace_seconds=0.2)
    yield child
    child.close()


@pytest.mark.parametrize(
    ("question", "error", "goes_on"),
    [
        (b"spin", TooSlow, True),
        (b"grow", Died, True),
        (b"big power", TooSlow, True),
        (b"sum", TooSlow, False),
        (b"sleep", TooSlow, False),
        (b"hoard", Died, False),
        (b"raise", Died, False),
        (b"exit", Died, False),
    ],
)
def test_a_breach_ends_an_interruptible_answer_alone_if_it_can(
    interruptible: Child, question: bytes, error: type[Exception], goes_on: bool
) -> None:
    first = ask(interruptible, b"pid")
    for _ in range(3):
        cpu_seconds = 0.3 if error is TooSlow else 10
        with pytest.raises(error):
            ask(interruptible, question, cpu_seconds, 1 if question == b"sleep" else 20)
        assert ask(interruptible, b"echo again") == b"again"
    assert (ask(interruptible, b"pid") == first) is goes_on


def test_no_answer_is_interrupted_late(interruptible: Child) -> None:
    """The time of one answer never ends another."""
    for number in range(20):
        with contextlib.suppress(TooSlow):
            assert ask(interruptible, b"work", 0.15) == b"done"
        assert ask(interruptible, b"echo %d" % number, 0.05) == b"%d" % number


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


@pytest.mark.parametrize("first", [b"echo", b"sleep"])
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.5])
def test_what_is_being_asked_of_a_process_that_is_closed_has_no_answer(
    child: Child, first: bytes, delay: float
) -> None:
    errors: list[type[BaseException]] = []
    is_closed = threading.Event()

    def ask_first() -> None:
        try:
            while not is_closed.is_set():
                ask(child, first, wall_seconds=3)
        except Exception as error:
            errors.append(type(error))

    asking = threading.Thread(target=ask_first)
    asking.start()
    time.sleep(delay)  # it may be starting then, or answering
    is_closed.set()
    child.close()
    asking.join(60)
    assert set(errors) <= {Died, TooSlow}  # it may have been closed before it was asked
    assert ask(child, b"echo again") == b"again"
