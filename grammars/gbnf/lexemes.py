"""Finds the parts of a grammar that automata can match without changing what the grammar accepts.

llguidance matches terminals by automata and rules by a parser. A terminal costs one table look-up
for each byte; a rule costs much more. A mask inside a JSON string takes 0.1 ms if the string is a
terminal, and 10 ms if the string is a rule over single characters.

But llguidance's automata are greedy. A terminal that can continue does continue, and a shorter
match of another terminal is forgotten. So a part may become a terminal ("lexeme") only under this
condition:

wherever a lexeme L has matched a text, and some lexeme M (or L itself) could continue with a
character c, c must not be able to follow L in the grammar.

The plan starts with the largest regular parts. An automaton of all lexemes together finds the
conflicts. Each M in a conflict is taken apart, and the search repeats. Single characters can't
continue, so they are never in conflict. So there is always a solution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from grammars.gbnf.alphabet import Alphabet
from grammars.gbnf.automaton import Automaton, AutomatonTooLarge, Budget
from grammars.gbnf.facts import is_nullable, nullable
from grammars.gbnf.nodes import (
    EMPTY,
    Chars,
    Choice,
    Contains,
    Lexeme,
    Node,
    Repeat,
    Rule,
    Sequence,
    Token,
    rules_in,
    sequence,
    walk,
)
from grammars.gbnf.unions import unions

_MAX_ROUNDS = 30

Rules = Mapping[str, Node]


def plan_lexemes(rules: Rules, order: list[str], regular: Set[str]) -> dict[str, Node]:
    """Return the remaining rules, `root` first, with lexemes in them.

    `order` has the names of all rules, references first. `regular` has the names of the rules that
    refer neither to tokens nor, directly or indirectly, to themselves.
    """
    if "root" in regular:
        return {"root": Lexeme(Rule("root"))}
    planner = _Planner(rules, regular)
    starts = _Starts(rules, order)
    budget = Budget()
    for _ in range(_MAX_ROUNDS):
        plan = planner.plan()
        try:
            conflicts = _conflicts(rules, plan, starts, budget)
        except AutomatonTooLarge:
            break
        if not conflicts:
            return plan
        for node, is_with_itself in conflicts.items():
            planner.take_apart(node, peel=is_with_itself)
    planner.only_characters = True
    return planner.plan()


@dataclass
class _Planner:
    """Divides rules into lexemes that are as large as possible."""

    rules: Rules
    regular: Set[str]
    only_characters: bool = False
    _is_irregular: Contains = field(init=False)
    _apart: dict[Node, bool] = field(default_factory=dict)
    """Nodes that must not be one lexeme, and whether removing their last item is enough. That is
    enough for most nodes with an optional end (`name spaces`)."""

    def __post_init__(self) -> None:
        regular = self.regular
        self._is_irregular = Contains(
            lambda node: (
                isinstance(node, Token) or (isinstance(node, Rule) and node.name not in regular)
            )
        )

    def take_apart(self, node: Node, *, peel: bool) -> None:
        """Forbid one lexeme for this node."""
        self._apart[node] = peel
        if isinstance(node, Rule):  # its body is the same lexeme
            self.take_apart(self.rules[node.name], peel=peel)

    def plan(self) -> dict[str, Node]:
        """Return all rules that aren't part of lexemes."""
        planned: dict[str, Node] = {}
        todo = ["root"]
        while todo:
            name = todo.pop()
            if name not in planned:
                planned[name] = self._plan(self.rules[name])
                todo.extend(rules_in(planned[name]))
        return planned

    def _plan(self, node: Node) -> Node:
        if isinstance(node, Chars) or (self._is_regular(node) and self._may_be_whole(node)):
            return Lexeme(node)
        match node:
            case Sequence(items):
                parts = self._parts(node) if self._is_regular(node) else self._runs(items)
                return sequence([self._plan(part) for part in parts])
            case Choice(options):
                return Choice(tuple(self._plan(option) for option in options))
            case Repeat(item, least, most):
                return Repeat(self._plan(item), least, most)
            case _:
                return node

    def _may_be_whole(self, node: Node) -> bool:
        return node != EMPTY and not self.only_characters and node not in self._apart

    def _is_regular(self, node: Node) -> bool:
        return not self._is_irregular(node)

    def _parts(self, node: Sequence) -> tuple[Node, ...]:
        if self._apart.get(node) and len(node.items) > 2:
            return (sequence([*node.items[:-1]]), node.items[-1])
        return node.items

    def _runs(self, items: tuple[Node, ...]) -> list[Node]:
        """Join regular items that follow each other."""
        runs: list[Node] = []
        run: list[Node] = []
        for item in items:
            if self._is_regular(item):
                run.append(item)
                continue
            if run:
                runs.append(sequence(run))
            run = []
            runs.append(item)
        return [*runs, sequence(run)] if run else runs


class _Starts:
    """The characters that a node can begin with, and whether the node can be empty."""

    def __init__(self, rules: Rules, order: Iterable[str]) -> None:
        names = list(order)
        nodes = [below for name in names for below in walk(rules[name])]
        self.alphabet = Alphabet(node for node in nodes if isinstance(node, Chars))
        self._nullable = nullable(rules, names)
        self._of_rules: dict[str, int] = {}
        own = {name: self.of(rules[name])[0] for name in names}
        begins = {name: _begins(rules[name], self._nullable) for name in names}
        self._of_rules = unions(own, begins)

    def of(self, node: Node) -> tuple[int, bool]:
        """The mask of first characters, and whether the node can be empty."""
        match node:
            case Chars():
                return self.alphabet.mask(node), False
            case Token(_, negated):
                return (self.alphabet.everything if negated else 0), False
            case Rule(name):
                return self._of_rules.get(name, 0), name in self._nullable
            case Lexeme(inner):
                return self.of(inner)
            case Sequence(items):
                return self._of_sequence(items)
            case Choice(options):
                starts = [self.of(option) for option in options]
                return _union(mask for mask, _ in starts), any(empty for _, empty in starts)
            case Repeat(item, least, most):
                mask, empty = self.of(item)
                return (0 if most == 0 else mask), empty or least == 0

    def _of_sequence(self, items: tuple[Node, ...]) -> tuple[int, bool]:
        mask = 0
        for item in items:
            first, empty = self.of(item)
            mask |= first
            if not empty:
                return mask, False
        return mask, True


def _begins(node: Node, nullable_rules: Set[str]) -> set[str]:
    """The names of the rules that a node can begin with."""
    names: set[str] = set()
    todo = [node]
    while todo:
        match todo.pop():
            case Rule(name):
                names.add(name)
            case Sequence(items):
                for item in items:
                    todo.append(item)
                    if not is_nullable(item, nullable_rules):
                        break
            case Choice(options):
                todo += options
            case Repeat(item, _, most) if most != 0:
                todo.append(item)
            case _:
                pass
    return names


class _Follow:
    """The characters that can come after each lexeme of a plan."""

    def __init__(self, plan: Rules, starts: _Starts) -> None:
        self._starts = starts
        self._after_rules = dict.fromkeys(plan, 0)
        """By rule: the characters that can come after it inside other rules."""
        self._ended_by: dict[str, set[str]] = {name: set() for name in plan}
        """By rule: the rules that it can end; what comes after those can come after it."""
        self._after_lexemes: dict[Node, int] = {}
        self._ending: list[tuple[str, Node]] = []
        """Rules, and lexemes that can end them."""
        for name, node in plan.items():
            self._visit(node, 0, name)
        after_rules = unions(self._after_rules, self._ended_by)
        for name, lexeme in self._ending:
            self._after_lexemes[lexeme] |= after_rules[name]

    @property
    def after_lexemes(self) -> dict[Node, int]:
        """By lexeme: the mask of the characters."""
        return self._after_lexemes

    def _visit(self, node: Node, after: int, ended: str | None) -> None:
        """Record that the characters in `after`, and what follows the rule `ended`, can come after
        a node."""
        match node:
            case Rule(name):
                self._after_rules[name] |= after
                if ended is not None:
                    self._ended_by[name].add(ended)
            case Lexeme(inner):
                self._after_lexemes[inner] = self._after_lexemes.get(inner, 0) | after
                if ended is not None:
                    self._ending.append((ended, inner))
            case Sequence(items):
                for item in reversed(items):
                    self._visit(item, after, ended)
                    first, empty = self._starts.of(item)
                    after, ended = (first | after, ended) if empty else (first, None)
            case Choice(options):
                for option in options:
                    self._visit(option, after, ended)
            case Repeat(item, _, most):
                again = self._starts.of(item)[0] if most is None or most > 1 else 0
                self._visit(item, after | again, ended)
            case Chars() | Token():
                pass


def _conflicts(rules: Rules, plan: Rules, starts: _Starts, budget: Budget) -> dict[Node, bool]:
    """The lexemes to take apart, each with whether it conflicts only with itself."""
    follow = _Follow(plan, starts).after_lexemes
    lexemes = list(follow)
    automaton = Automaton(rules, starts.alphabet, budget)
    for lexeme in lexemes:
        automaton.add(lexeme)
    conflicts: dict[Node, bool] = {}
    for ended, going_on in automaton.conflicts([follow[lexeme] for lexeme in lexemes]):
        node = lexemes[going_on]
        conflicts[node] = conflicts.get(node, True) and ended == going_on
    return conflicts


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
