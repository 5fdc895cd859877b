"""The sandbox: limits, what is remembered for good, and what is soon forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from confined.child import Died, TooSlow
from confined.pool import Pace
from confined.turns import Crowded
from grammars import building, memo
from grammars.errors import GrammarError, UnsupportedKeyword, WrongSchema
from grammars.memo import Memo
from grammars.sandbox import BREACH_SECONDS, Sandbox

_PATTERNS = ", ".join(f'{{"pattern": "a{{{i}}}"}}' for i in range(100))
SLOW = f'{{"type": "string", "allOf": [{_PATTERNS}]}}'


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    sandbox.start()
    yield sandbox
    sandbox.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """A pool that counts the questions, and answers all of them with an error."""

    def __init__(self, error: BaseException) -> None:
        self.slow = Pace(1.0, 2.0)
        self.error = error
        self.count = 0

    def ask(self, question: Any) -> bytes:
        self.count += 1
        raise self.error


def with_pool(pool: Asked, clock: Clock) -> Sandbox:
    sandbox = Sandbox()
    sandbox.pool = pool  # type: ignore[assignment]
    sandbox.memo = Memo(clock)
    return sandbox


def test_what_takes_too_long_is_refused(sandbox: Sandbox) -> None:
    sandbox.pool.quick, sandbox.pool.slow = Pace(0.1, 5.0), Pace(0.4, 20.0)
    with pytest.raises(GrammarError, match=r"more than 0\.4 s"):
        sandbox.call(building.build_schema, SLOW, False)
    sandbox.pool.slow = Pace(5.0, 20.0)
    sandbox.call(building.build_lark, 'start: "a"')


@pytest.mark.parametrize("breach", [TooSlow(), Died()])
def test_a_breach_is_remembered_for_a_short_time(breach: Exception) -> None:
    pool, clock = Asked(breach), Clock()
    sandbox = with_pool(pool, clock)
    for seconds, count in [(0.0, 1), (BREACH_SECONDS / 2, 1), (BREACH_SECONDS, 2), (1.0, 2)]:
        clock.now += seconds
        with pytest.raises(GrammarError, match="the grammar takes"):
            sandbox.call(building.build_lark, "start: x")
        assert pool.count == count


def test_a_refusal_for_want_of_a_place_is_no_verdict() -> None:
    pool = Asked(Crowded())
    sandbox = with_pool(pool, Clock())
    for count in (1, 2):
        with pytest.raises(Crowded):
            sandbox.call(building.build_lark, "start: x")
        assert pool.count == count


@pytest.mark.parametrize(
    ("schema", "error", "path"),
    [
        ('{"type": "text"}', WrongSchema, "/type"),
        ('{"properties": {"a": {"if": {}, "then": false}}}', UnsupportedKeyword, None),
        ('{"properties": {"a": {"pattern": "("}}}', GrammarError, "/properties/a"),
    ],
)
def test_verdicts_are_remembered_for_good(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    schema: str,
    error: type[GrammarError],
    path: str | None,
) -> None:
    clock = Clock()
    sandbox.memo = Memo(clock)
    found = []
    for _ in range(2):
        with pytest.raises(error) as raised:
            sandbox.call(building.build_schema, schema, False)
        found.append((raised.value.message, raised.value.path))
        monkeypatch.setattr(sandbox.pool, "ask", Asked(TooSlow()).ask)
        clock.now += 1e6
    assert found[0] == found[1]
    assert path is None or found[0][1] == path


def test_a_fault_of_our_own_is_no_verdict_on_the_grammar(sandbox: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="a confined process failed"):
        sandbox.call(building.build_schema, "this is no JSON", False)


def test_a_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "MAX_BYTES", 10_000)
    answers = Memo()
    for number in range(100):
        answers.put(b"%d" % number, b"x" * 1000, 1.0)
        answers.get(b"0")  # keeps it
    kept = [number for number in range(100) if answers.get(b"%d" % number) is not None]
    assert kept == [0, *range(94, 100)]


def test_a_memo_replaces_and_forgets() -> None:
    clock = Clock()
    answers = Memo(clock)
    answers.put(b"a", b"old", 5.0)
    answers.put(b"a", b"new", 10.0)
    clock.now += 7.0
    assert answers.get(b"a") == b"new"
    clock.now += 3.0
    assert answers.get(b"a") is None
