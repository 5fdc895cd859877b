"""Questions that broke a limit are remembered for a while, and by what they are alone."""

from __future__ import annotations

import pytest

from confined.child import Died, TooSlow
from confined.failures import MOST_REMEMBERED, REMEMBERED_SECONDS, Failures


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("question", [b"", b"a", (b"a", b"b"), b"x" * 1_000_000])
def test_a_slow_question_is_known_for_a_while(question: object) -> None:
    clock = Clock()
    failures = Failures(clock)
    assert not failures.is_slow(question)
    failures.add(question)
    assert failures.is_slow(question)
    assert not failures.is_slow(b"another")
    clock.now += REMEMBERED_SECONDS
    assert not failures.is_slow(question)


@pytest.mark.parametrize("error", [TooSlow, Died])
def test_a_failed_question_fails_again_and_is_then_forgotten(error: type[Exception]) -> None:
    clock = Clock()
    failures = Failures(clock)
    failures.add(b"a")
    failures.add(b"a", error)
    with pytest.raises(error):
        failures.is_slow(b"a")
    clock.now += REMEMBERED_SECONDS
    assert not failures.is_slow(b"a")


def test_what_is_remembered_is_bounded() -> None:
    failures = Failures(Clock())
    for number in range(3 * MOST_REMEMBERED):
        failures.add(b"%d" % number)
    known = [number for number in range(3 * MOST_REMEMBERED) if failures.is_slow(b"%d" % number)]
    assert known == list(range(2 * MOST_REMEMBERED, 3 * MOST_REMEMBERED))
