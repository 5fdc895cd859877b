"""A nondeterministic automaton of several lexemes, which finds conflicts between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from grammars.gbnf.alphabet import Alphabet
from grammars.gbnf.nodes import Chars, Choice, Lexeme, Node, Repeat, Rule, Token
from grammars.gbnf.nodes import Sequence as SequenceNode

MAX_STATES = 20_000
MAX_STEPS = 200_000
MAX_WORK = 500_000
"""Maximum number of pairs, of two masks or of an end and an edge, that one plan may compare."""

MAX_DEPTH = 100
MAX_COPIES = 8
"""Repetitions up to this count are spelled out; above it, a loop stands for any number."""


class AutomatonTooLarge(Exception):
    """The search for conflicts would take too long."""


@dataclass(slots=True)
class Budget:
    """The comparisons that are left for all automata of one grammar."""

    left: int = MAX_WORK

    def spend(self, work: int) -> None:
        """Count comparisons before they are made. Raises `AutomatonTooLarge`."""
        self.left -= work
        if self.left < 0:
            raise AutomatonTooLarge


class Automaton:
    """A nondeterministic automaton: all lexemes start at once, and each lexeme has its own states.

    The automaton may accept more than the lexemes do (see `MAX_COPIES`). That can add conflicts,
    but never hides one.
    """

    def __init__(self, rules: Mapping[str, Node], alphabet: Alphabet, budget: Budget) -> None:
        self._budget = budget
        self._rules = rules
        self._alphabet = alphabet
        self._jumps: list[list[int]] = []
        """By state: the states to enter without reading a character."""
        self._edges: list[list[tuple[int, int]]] = []
        """By state: pairs of a mask of characters and the state that these characters lead to."""
        self._owners: list[int] = []
        """By state: the lexeme that the state belongs to."""
        self._starts: list[int] = []
        self._ends: dict[int, int] = {}
        """By final state: the lexeme that the state completes."""

    def add(self, node: Node) -> None:
        """Add a lexeme; lexemes are numbered in this order. Raises `AutomatonTooLarge`."""
        start = self._state()
        self._starts.append(start)
        self._owners[start] = len(self._starts) - 1
        self._ends[self._build(node, start, 0)] = len(self._starts) - 1

    def conflicts(self, follow: Sequence[int]) -> set[tuple[int, int]]:
        """The pairs (L, M) of lexemes where M continues past the end of L with an ambiguous
        character.

        A character is ambiguous if it may also follow L in the grammar: if it is in the mask
        `follow[L]`. Raises `AutomatonTooLarge`.
        """
        found: set[tuple[int, int]] = set()
        start = self._closure(frozenset(self._starts))
        todo = [start]
        seen: set[frozenset[int]] = set()
        steps = 0
        while todo:
            states = todo.pop()
            if states is not start:
                found |= self._conflicts_in(states, follow)
            for target in self._moves(states):
                steps += len(target)
                if steps > MAX_STEPS:
                    raise AutomatonTooLarge
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return found

    def _conflicts_in(self, states: frozenset[int], follow: Sequence[int]) -> set[tuple[int, int]]:
        ended = [self._ends[state] for state in states if state in self._ends]
        edges = [(mask, self._owners[state]) for state in states for mask, _ in self._edges[state]]
        self._budget.spend(len(ended) * len(edges))
        return {
            (lexeme, owner) for lexeme in ended for mask, owner in edges if mask & follow[lexeme]
        }

    def _moves(self, states: frozenset[int]) -> Iterator[frozenset[int]]:
        """The sets of states that one more character leads to; some come more than once."""
        edges = [edge for state in states for edge in self._edges[state]]
        groups: set[int] = set()
        for mask in {mask for mask, _ in edges}:  # divide into masks whose characters all act alike
            self._budget.spend(len(groups))
            rest = mask
            for group in list(groups):
                if common := group & mask:
                    groups.remove(group)
                    groups.update(part for part in (common, group & ~mask) if part)
                    rest &= ~group
            if rest:
                groups.add(rest)
        for group in groups:
            self._budget.spend(len(edges))
            yield self._closure(frozenset(target for mask, target in edges if mask & group))

    def _closure(self, states: frozenset[int]) -> frozenset[int]:
        reached = set(states)
        todo = list(states)
        while todo:
            for state in self._jumps[todo.pop()]:
                if state not in reached:
                    reached.add(state)
                    todo.append(state)
        return frozenset(reached)

    def _state(self) -> int:
        if len(self._edges) == MAX_STATES:
            raise AutomatonTooLarge
        self._jumps.append([])
        self._edges.append([])
        self._owners.append(max(len(self._starts) - 1, 0))
        return len(self._edges) - 1

    def _build(self, node: Node, start: int, depth: int) -> int:
        """Add the states that lead from `start` through a node; return the final state."""
        if depth > MAX_DEPTH:
            raise AutomatonTooLarge
        match node:
            case Chars():
                end = self._state()
                self._edges[start].append((self._alphabet.mask(node), end))
                return end
            case Rule(name):
                return self._build(self._rules[name], start, depth + 1)
            case SequenceNode(items):
                for item in items:
                    start = self._build(item, start, depth + 1)
                return start
            case Choice(options):
                end = self._state()
                for option in options:
                    self._jumps[self._build(option, self._branch(start), depth + 1)].append(end)
                return end
            case Repeat():
                return self._build_repeat(node, start, depth)
            case Token() | Lexeme():
                raise AssertionError("not a regular node")

    def _branch(self, start: int) -> int:
        state = self._state()
        self._jumps[start].append(state)
        return state

    def _build_repeat(self, node: Repeat, start: int, depth: int) -> int:
        least = min(node.least, MAX_COPIES)
        for _ in range(least):
            start = self._build(node.item, start, depth + 1)
        if node.most is None or node.most > MAX_COPIES:
            loop = self._branch(start)
            self._jumps[self._build(node.item, loop, depth + 1)].append(loop)
            return self._branch(loop)
        end = self._state()
        for _ in range(node.most - least):
            self._jumps[start].append(end)
            start = self._build(node.item, start, depth + 1)
        self._jumps[start].append(end)
        return end
