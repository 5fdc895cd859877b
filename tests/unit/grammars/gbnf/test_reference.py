"""The translation compared with a plain recognizer, also on grammars that llama.cpp refuses."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grammars.acceptance import accept
from grammars.constraint import LLGuidanceGrammar
from grammars.errors import GrammarError
from grammars.gbnf.lark import to_lark
from grammars.gbnf.nodes import Chars, Choice, Node, Repeat, Rule, Sequence
from grammars.gbnf.parser import Grammar, parse

ATOMS = ['"a"', '"ab"', '"b"', '""', "[ab]", "[^a]", "root", "x", "y"]
TEXTS = ["".join(text) for size in range(6) for text in itertools.product("ab", repeat=size)]

bodies = st.recursive(
    st.sampled_from(ATOMS),
    lambda below: st.one_of(
        st.lists(below, min_size=2, max_size=3).map(" ".join),
        st.lists(below, min_size=2, max_size=3).map(lambda parts: f"({' | '.join(parts)})"),
        st.tuples(below, st.sampled_from("?*+")).map(lambda parts: f"({parts[0]}){parts[1]}"),
        below.map(lambda part: f"({part}){{1,2}}"),
    ),
    max_leaves=6,
)


class Recognizer:
    """Finds all places where each rule can end from a start index, by iteration to a fixed
    point."""

    def __init__(self, grammar: Grammar, text: str) -> None:
        self._text = text
        self._ends = {
            (name, start): frozenset[int]()
            for name in grammar.rules
            for start in range(len(text) + 1)
        }
        before = None
        while before != self._ends:
            before = dict(self._ends)
            for name, start in self._ends:
                self._ends[name, start] = self._after(grammar.rules[name], frozenset({start}))

    @property
    def is_accepted(self) -> bool:
        return len(self._text) in self._ends["root", 0]

    def _after(self, node: Node, starts: frozenset[int]) -> frozenset[int]:
        match node:
            case Chars(ranges):
                codes = {
                    start: ord(self._text[start]) for start in starts if start < len(self._text)
                }
                found = (s for s, code in codes.items() if any(a <= code <= b for a, b in ranges))
                return frozenset(start + 1 for start in found)
            case Rule(name):
                return frozenset().union(*(self._ends[name, start] for start in starts))
            case Sequence(items):
                for item in items:
                    starts = self._after(item, starts)
                return starts
            case Choice(options):
                return frozenset().union(*(self._after(option, starts) for option in options))
            case Repeat():
                return self._after_repeat(node, starts)
            case _:
                raise AssertionError(node)

    def _after_repeat(self, node: Repeat, starts: frozenset[int]) -> frozenset[int]:
        for _ in range(node.least):
            starts = self._after(node.item, starts)
        ends = starts
        for _ in range(len(self._text) + 1 if node.most is None else node.most - node.least):
            starts = self._after(node.item, starts)
            ends |= starts
        return ends


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.tuples(bodies, bodies, bodies))
def test_texts_are_those_of_the_grammar(parts: tuple[str, str, str]) -> None:
    grammar = parse("root ::= {}\nx ::= {}\ny ::= {}".format(*parts))
    try:
        lark = to_lark(grammar, None)
    except GrammarError:
        assume(False)
    wrong = [
        text
        for text in TEXTS
        if accept(LLGuidanceGrammar(lark), text).is_accepted
        != Recognizer(grammar, text).is_accepted
    ]
    assert wrong == [], lark
