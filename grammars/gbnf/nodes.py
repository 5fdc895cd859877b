"""The parts of a GBNF grammar, as its parser leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, inclusive ranges of code points; without NUL and surrogates."""

_ALL: Ranges = ((0x01, 0xD7FF), (0xE000, 0x10FFFF))
"""What text can hold. llama.cpp ends a token's text at a NUL, so that one is never matched."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One code point out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Rule:
    """A reference to a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the vocabulary, by id, or by name until that is looked up; or any but it."""

    token: int | str
    negated: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    """All items, one after the other; the empty text if there are none."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the options."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """An item `least` to `most` times; None is without limit."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A part that an automaton of its own shall match; the parser makes none, the planner does."""

    node: Node


Node = Chars | Rule | Token | Sequence | Choice | Repeat | Lexeme

EMPTY = Sequence(())


def sequence(items: list[Node]) -> Node:
    """All items in order, with nested sequences opened."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Sequence) else [item])
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def choice(options: list[Node]) -> Node:
    """One of the options, with nested choices opened and duplicates left out."""
    flat: dict[Node, None] = {}
    for option in options:
        flat.update(dict.fromkeys(option.options if isinstance(option, Choice) else [option]))
    return next(iter(flat)) if len(flat) == 1 else Choice(tuple(flat))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below; a lexeme is opaque."""
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
    """The node and all below it, without following references."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(children(node))


def rules_in(node: Node) -> set[str]:
    """The names of all rules that a node refers to."""
    return {below.name for below in walk(node) if isinstance(below, Rule)}


def char_set(ranges: list[tuple[int, int]], *, negated: bool = False) -> Chars:
    """One code point in the ranges, which may overlap; or one outside of them."""
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
    """Keep what text can hold."""
    pairs = [
        (max(low, all_low), min(high, all_high))
        for low, high in ranges
        for all_low, all_high in _ALL
    ]
    return tuple((low, high) for low, high in pairs if low <= high)
