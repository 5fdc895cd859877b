"""A pool of confined processes: quick and slow questions, bounds, and work that is called off."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from confined.child import Child, Died, TooSlow
from confined.failures import REMEMBERED_SECONDS, Failures
from confined.pool import MOST_SLOW_OF_ONE, SLOW_NICENESS, Pace, Pool, Spent
from confined.turns import Crowded, Turns
from confined.work import Cancelled, Work, working_for

MODULE = "tests.support.confined_program"
SLOW = b"spin"


@pytest.fixture
def pool() -> Iterator[Pool[bytes]]:
    with running(Pace(cpu_seconds=0.5, wall_seconds=20)) as pool:
        yield pool


@contextmanager
def running(slow: Pace) -> Iterator[Pool[bytes]]:
    """A pool that works, whose slow children keep the given pace."""
    pool: Pool[bytes] = Pool(
        lambda niceness: Child(MODULE, niceness=niceness),
        quick=Pace(cpu_seconds=0.05, wall_seconds=5),
        slow=slow,
    )
    pool.start()
    yield pool
    pool.close()


def ask_for(pool: Pool[bytes], work: Work, question: bytes) -> bytes:
    with working_for(work):
        return pool.ask(question)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_takes_longer_than_the_quick_ones_is_answered_too(pool: Pool[bytes]) -> None:
    assert pool.ask(b"echo x") == b"x"
    slow = threading.Event()
    assert ask_for(pool, Work(on_slow=slow.set), b"work") == b"done"
    assert slow.is_set()


def test_too_slow(pool: Pool[bytes]) -> None:
    for _ in range(2):
        with pytest.raises(TooSlow):
            pool.ask(SLOW)
        assert pool.ask(b"echo x") == b"x"


class Counting:
    """A process that counts its questions and is too slow for, or dies of, some."""

    def __init__(self, niceness: int, asked: list[tuple[int, bytes]]) -> None:
        self._niceness = niceness
        self._asked = asked

    def start(self) -> None: ...

    def close(self) -> None: ...

    def ask(self, question: bytes, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        self._asked.append((self._niceness, question))
        if question.startswith(b"spin") or (question == b"long" and not self._niceness):
            raise TooSlow
        if question.startswith(b"die"):
            raise Died
        return question


@pytest.mark.parametrize(
    ("question", "error", "attempts"),
    [(b"spin", TooSlow, [0, SLOW_NICENESS]), (b"die", Died, [0])],
)
def test_to_repeat_a_failure_costs_no_process(
    monkeypatch: pytest.MonkeyPatch, question: bytes, error: type[Exception], attempts: list[int]
) -> None:
    asked: list[tuple[int, bytes]] = []
    pool: Pool[bytes] = Pool(lambda nice: Counting(nice, asked), quick=Pace(1, 1), slow=Pace(1, 1))
    for _ in range(20):
        with pytest.raises(error):
            pool.ask(question)
    assert asked == [(niceness, question) for niceness in attempts]
    with pytest.raises(error):
        pool.ask(question + b" otherwise")
    assert pool.ask(b"innocent") == b"innocent"
    later = time.monotonic() + REMEMBERED_SECONDS
    monkeypatch.setattr(pool, "_failures", Failures(lambda: later))
    with pytest.raises(error):
        pool.ask(question)
    assert asked[-len(attempts) :] == [(niceness, question) for niceness in attempts]


@pytest.mark.parametrize(
    ("num_slow", "owner", "expected"), [(1, "a", 5), (2, "a", 1), (8, "a", 1), (8, "b", 5)]
)
def test_an_owner_of_slow_questions_is_hurried(num_slow: int, owner: str, expected: float) -> None:
    given: list[float] = []

    class Timed(Counting):
        def ask(self, question: bytes, *, cpu_seconds: float, wall_seconds: float) -> bytes:
            given.append(cpu_seconds)
            return question

    pool: Pool[bytes] = Pool(lambda nice: Timed(nice, []), quick=Pace(5, 9), slow=Pace(9, 9))
    with ExitStack() as slow:
        pool.slow_turns = Turns(num_slow)
        for _ in range(num_slow):
            slow.enter_context(pool.slow_turns.turn(Work("a")))
        assert ask_for(pool, Work(owner), b"x") == b"x"
    assert given == [expected]


def test_what_was_slow_is_not_tried_quickly_again() -> None:
    asked: list[tuple[int, bytes]] = []
    pool: Pool[bytes] = Pool(lambda nice: Counting(nice, asked), quick=Pace(1, 1), slow=Pace(1, 1))
    assert [pool.ask(b"long") for _ in range(3)] == [b"long"] * 3
    assert [niceness for niceness, _ in asked] == [0, *[SLOW_NICENESS] * 3]


@pytest.mark.parametrize("question", [b"exit", b"grow"])
def test_deaths(question: bytes) -> None:
    with running(Pace(cpu_seconds=60, wall_seconds=200)) as pool:
        for _ in range(2):
            with pytest.raises(Died):
                pool.ask(question)
            assert pool.ask(b"echo x") == b"x"


def test_quick_questions_never_wait_for_slow_ones(pool: Pool[bytes]) -> None:
    with ThreadPoolExecutor(3) as threads:
        slow = [threads.submit(pytest.raises, TooSlow, pool.ask, SLOW) for _ in range(3)]
        count = 0
        while not all(future.done() for future in slow):
            assert pool.ask(b"echo x") == b"x"
            count += 1
    assert count > 20


def test_too_many_slow_ones(pool: Pool[bytes]) -> None:
    pool.slow_turns = Turns(1, most=1)
    with pool.slow_turns.turn(Work()), pytest.raises(Crowded):
        pool.ask(SLOW)
    with pool.slow_turns.turn(Work("flood")):
        assert pool.ask(b"echo x") == b"x"


def test_work_with_many_slow_questions_may_ask_no_more(pool: Pool[bytes]) -> None:
    work = Work()
    work.num_slow = MOST_SLOW_OF_ONE - 1
    assert ask_for(pool, work, b"work") == b"done"
    with pytest.raises(Spent):
        ask_for(pool, work, b"echo x")
    assert ask_for(pool, Work(), b"echo x") == b"x"


@pytest.mark.parametrize("stage", ["quick", "slow", "waiting for a slow one"])
def test_work_that_is_called_off_ends_its_process_or_its_wait(
    pool: Pool[bytes], stage: str
) -> None:
    pool.slow = Pace(60.0, 60.0)
    if stage == "quick":
        pool.quick = Pace(60.0, 60.0)
    became_slow = threading.Event()
    work = Work(on_slow=became_slow.set)
    with ThreadPoolExecutor(2) as threads:
        first = Work(on_slow=became_slow.set)
        others = []
        if stage == "waiting for a slow one":
            others.append(threads.submit(ask_for, pool, first, SLOW))
            became_slow.wait()
            became_slow.clear()
        asked = threads.submit(ask_for, pool, work, SLOW)
        if stage == "quick":
            time.sleep(0.3)
        else:
            became_slow.wait()
            time.sleep(0.1)
        begin = time.monotonic()
        work.cancel()
        assert isinstance(asked.exception(), Cancelled)
        assert time.monotonic() - begin < 10
        first.cancel()
        assert all(isinstance(other.exception(), Cancelled) for other in others)
    assert pool.ask(b"echo x") == b"x"


def test_a_cancelled_question_leaves_no_process_behind(pool: Pool[bytes]) -> None:
    pool.quick = pool.slow = Pace(60.0, 60.0)
    pids = {int(pool.ask(b"pid")) for _ in range(4)}
    works = [Work(), Work()]
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(ask_for, pool, work, SLOW) for work in works]
        time.sleep(0.3)
        for work in works:
            work.cancel()
        assert all(isinstance(future.exception(), Cancelled) for future in asked)
    assert not any(map(is_alive, pids))


def test_work_that_was_called_off_before_asks_nothing(pool: Pool[bytes]) -> None:
    work = Work()
    work.cancel()
    with pytest.raises(Cancelled):
        ask_for(pool, work, b"echo x")
