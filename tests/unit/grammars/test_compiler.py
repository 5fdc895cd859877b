from __future__ import annotations

import pytest

from grammars import compiler, limits
from grammars.acceptance import accept
from grammars.constraint import Constraint, LazyConstraint, LLGuidanceGrammar
from grammars.errors import GrammarError


def accepts(constraint: Constraint, text: str) -> bool:
    assert isinstance(constraint, LLGuidanceGrammar)
    return accept(constraint, text).is_accepted


def test_choices_are_exact() -> None:
    choices = ["yes", "yes, but", 'say "no"', "naïve\n", "a|b", "/x/", ""]
    constraint = compiler.from_choices(choices)
    assert all(accepts(constraint, choice) for choice in choices)
    for text in ("ye", "yes,", "naive\n", "a", "YES", " "):
        assert not accepts(constraint, text)


@pytest.mark.parametrize("choices", [[], ["x"] * (limits.MAX_CHOICES + 1), ["x" * (3 << 20)]])
def test_choices_that_are_refused(choices: list[str]) -> None:
    with pytest.raises(GrammarError):
        compiler.from_choices(choices)


def test_a_regular_expression_matches_the_whole_text() -> None:
    constraint = compiler.from_regex(r"[a-c]{2,3}/\d+|é")
    assert all(accepts(constraint, text) for text in ("ab/1", "abc/22", "é"))
    assert not any(accepts(constraint, text) for text in ("a/1", "ab/", "xab/1", "ab/1x", ""))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(a", "unclosed group"),
        ("a" * (9 << 10), "bytes"),
        ("(?=a)", "look-around"),
        ("\ud800", "Unicode"),
    ],
)
def test_regular_expressions_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        compiler.from_regex(pattern)


def test_lark() -> None:
    assert accepts(compiler.from_lark('start: "a" /[0-9]+/'), "a12")
    compiler.from_lark("start: <[151646]> /a/ <[^1,2]>")
    with pytest.raises(GrammarError, match='unknown name: "b"'):
        compiler.from_lark("start: b")
    with pytest.raises(GrammarError, match="name tokens by their id"):
        compiler.from_lark("start: <tool>")


def test_a_deep_grammar_ends_the_checker_at_most() -> None:
    rules = "\n".join(f"r{i}: /b/ r{i + 1}" for i in range(100_000))
    with pytest.raises(GrammarError):
        compiler.from_lark(f"start: r0\n{rules}\nr100000: /a/")
    compiler.from_regex("[xyz]")


def test_lazy() -> None:
    inner = compiler.from_choices(["x"])
    lazy = compiler.lazy(inner, words=("<call>",), tokens=(3,))
    assert lazy == LazyConstraint(inner, ("<call>",), (3,), keep_trigger=True)  # type: ignore[arg-type]
    for words in [(), ("",), ("x" * 5000,)]:
        with pytest.raises(GrammarError):
            compiler.lazy(inner, words=words)
    with pytest.raises(GrammarError, match="second trigger"):
        compiler.lazy(lazy, words=("a",))
