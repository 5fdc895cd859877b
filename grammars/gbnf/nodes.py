"""The syntax tree of a GBNF grammar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points, without NUL and surrogates."""

_ALL: Ranges = ((0x01, 0xD7FF), (0xE000, 0x10FFFF))
"""All characters that a text can hold. llama.cpp ends a token's text at a NUL, so no NUL is ever
matched."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One code point from a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Rule:
    """A reference to a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the vocabulary, or, if negated, any other token. The token is given by id, or by
    name until the name is looked up."""

    token: int | str
    negated: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """All items, one after the other; without items, the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item repeated `least` to `most` times; None means no limit."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A part that one automaton shall match. The planner makes lexemes; the parser doesn't."""

    node: Node


Node = Chars | Rule | Token | Sequence | Choice | Repeat | Lexeme

EMPTY = Sequence(())


def sequence(items: list[Node]) -> Node:
    """All items in order, with nested sequences flattened."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else [item])
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(options: list[Node]) -> Node:
    """One of the options, with nested choices flattened and duplicates removed."""
    flat: dict[Node, None] = {}
    for option in options:
        flat.update(dict.fromkeys(option.options if isinstance(option, Choice) else [option]))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below; a lexeme has none."""
    match node:
        case Sequence(items):
            return items
        case Choice(options):
            return options
        case Repeat(item):
            return (item,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it, without following references."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(children(node))


class Contains:
    """Whether nodes are, or contain, a node with some property. Each node is asked once."""

    def __init__(self, has_property: Callable[[Node], bool]) -> None:
        self._has_property = has_property
        self._known: dict[int, tuple[Node, bool]] = {}
        """By a node's id, which is the node's as long as the node is kept here."""

    def __call__(self, node: Node) -> bool:
        """Whether the node has the property, or a node below it; references aren't followed."""
        known = self._known.get(id(node))
        if known is None:
            found = self._has_property(node) or any(map(self, children(node)))
            known = self._known[id(node)] = (node, found)
        return known[1]


def rules_in(node: Node) -> set[str]:
    """The names of all rules that a node refers to."""
    return {below.name for below in walk(node) if isinstance(below, Rule)}


def char_set(ranges: list[tuple[int, int]], *, negated: bool = False) -> Chars:
    """One code point inside the ranges, which may overlap, or, if `negated`, one outside."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    if negated:
        merged = _complement(merged)
    return Chars(_intersect(merged))


def _complement(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    starts = [0] + [high + 1 for _, high in ranges]
    ends = [low - 1 for low, _ in ranges] + [0x10FFFF]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]


def _intersect(ranges: list[tuple[int, int]]) -> Ranges:
    """Restrict ranges to characters that a text can hold."""
    pairs = [
        (max(low, all_low), min(high, all_high))
        for low, high in ranges
        for all_low, all_high in _ALL
    ]
    return tuple((low, high) for low, high in pairs if low <= high)
