"""Refuses grammars that are dangerous for llama.cpp's own grammar sampler.

The sampler runs in the engine's process and has few limits. It recurses over rules. Its search for
left recursion takes exponential time where rules share rules. Left recursion that the search misses
takes all memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from grammars.errors import GrammarError
from grammars.gbnf.facts import is_nullable, nullable
from grammars.gbnf.nodes import Chars, Choice, Lexeme, Node, Repeat, Rule, Sequence, Token, walk
from grammars.gbnf.parser import Grammar

MAX_SEARCH_STEPS = 1_000_000
"""Maximum number of calls in llama.cpp's search for left recursion."""

MAX_SEARCH_DEPTH = 1_000
MAX_RULES_PER_REPEAT = 2_000
"""llama.cpp's own limit on the rules that one repetition is expanded to."""


def refuse_for_llama(grammar: Grammar) -> None:
    """Raise `GrammarError` if llama.cpp can't, or shouldn't, enforce this grammar.

    Unused rules count too, because llama.cpp reads all rules.
    """
    names = list(grammar.rules)
    nullable_rules = nullable(grammar.rules, names)
    search = _LeftSearch(grammar, nullable_rules)
    for name in names:
        search.visit(name)
        for node in walk(grammar.rules[name]):
            if isinstance(node, Repeat):
                _check_repeat(node, nullable_rules, grammar.places[name])


def _check_repeat(node: Repeat, nullable_rules: set[str], place: str) -> None:
    count = node.least if node.most is None else node.most
    size = sum(1 for _ in walk(node.item))
    if count * size > MAX_RULES_PER_REPEAT:
        raise GrammarError("llama.cpp can't repeat so much so often", place)
    if node.most is None and is_nullable(node.item, nullable_rules):
        raise GrammarError("llama.cpp can't repeat without end what may be empty", place)


class _LeftSearch:
    """Finds left recursion, and counts the steps that llama.cpp's search for it would take."""

    def __init__(self, grammar: Grammar, nullable_rules: set[str]) -> None:
        self._grammar = grammar
        self._nullable = nullable_rules
        self._costs: dict[str, int] = {}
        """Calls by rule. llama.cpp repeats the calls for a rule each time another rule begins with
        it."""

    def visit(self, name: str) -> None:
        """Raise `GrammarError` if the rule is left-recursive or takes too long to search."""
        if name in self._costs:
            return
        path: set[str] = set()
        todo = [self._begun(name, path)]
        while todo:
            rule, begins, rest = todo[-1]
            unknown = next((other for other in rest if other not in self._costs), None)
            if unknown is not None:
                todo.append(self._begun(unknown, path))
                continue
            path.remove(rule)
            todo.pop()
            self._costs[rule] = 1 + sum(self._costs[other] for other in begins)
            if self._costs[rule] > MAX_SEARCH_STEPS or len(todo) > MAX_SEARCH_DEPTH:
                raise GrammarError("too many rules begin with others", self._grammar.places[rule])

    def _begun(self, rule: str, path: set[str]) -> tuple[str, list[str], Iterator[str]]:
        """A rule on the path, all rules that it may begin with, and those not visited yet."""
        path.add(rule)
        begins = self._begins(self._grammar.rules[rule])
        if not path.isdisjoint(begins):
            raise GrammarError(f"{rule!r} is left-recursive", self._grammar.places[rule])
        return rule, begins, iter(begins)

    def _begins(self, node: Node) -> list[str]:
        """The names of the rules that a node may begin with, with repetitions."""
        match node:
            case Rule(name):
                return [name]
            case Sequence(items):
                begins: list[str] = []
                for item in items:
                    begins += self._begins(item)
                    if not is_nullable(item, self._nullable):
                        break
                return begins
            case Choice(options):
                return [name for option in options for name in self._begins(option)]
            case Repeat(item):
                return self._begins(item)
            case Chars() | Token() | Lexeme():
                return []
