"""Properties of a grammar's rules: which rules can end, are regular, or can become repetitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from grammars.gbnf.nodes import (
    Chars,
    Choice,
    Lexeme,
    Node,
    Repeat,
    Rule,
    Sequence,
    Token,
    choice,
    rules_in,
    sequence,
    walk,
)

Rules = Mapping[str, Node]


def reachable(rules: Rules) -> list[str]:
    """The rules that `root` needs, each after the rules it refers to, except in cycles."""
    order: dict[str, None] = {}
    seen = {"root"}
    todo = [("root", iter(sorted(rules_in(rules["root"]))))]
    while todo:
        name, below = todo[-1]
        following = next((other for other in below if other not in seen), None)
        if following is None:
            order[name] = None
            todo.pop()
        else:
            seen.add(following)
            todo.append((following, iter(sorted(rules_in(rules[following])))))
    return list(order)


def endless(rules: Rules, names: Iterable[str]) -> set[str]:
    """The rules that no finite text can satisfy."""
    names = list(names)
    ending: set[str] = set()
    while True:
        more = {name for name in names if name not in ending and _ends(rules[name], ending)}
        if not more:
            return set(names) - ending
        ending |= more


def _ends(node: Node, ending: set[str]) -> bool:
    """Whether the node has a finite text, given that the rules in `ending` have one."""
    match node:
        case Rule(name):
            return name in ending
        case Sequence(items):
            return all(_ends(item, ending) for item in items)
        case Choice(options):
            return any(_ends(option, ending) for option in options)
        case Repeat(item, least):
            return least == 0 or _ends(item, ending)
        case Chars() | Token() | Lexeme():
            return True


def unroll_recursion(name: str, node: Node) -> Node:
    """Turn a rule that refers to itself at its beginning or end into a repetition.

    `a ::= x a | y` becomes `x* y`, and `a ::= a x | y` becomes `y x*`. The texts stay the same.
    llguidance's parser keeps an item for each level of recursion, but none for a repetition.
    """
    if name not in rules_in(node):
        return node
    for at_end in (True, False):
        parts = _split(name, node, at_end=at_end)
        if parts is not None:
            loops, exits = parts
            loop = Repeat(choice(loops), 0, None)
            items = [loop, choice(exits)] if at_end else [choice(exits), loop]
            return sequence(items)
    return node


def _split(name: str, node: Node, *, at_end: bool) -> tuple[list[Node], list[Node]] | None:
    """Divide the alternatives of a node into the recursive ones and the others.

    A recursive alternative ends with `name` (begins with it, without `at_end`) and is returned
    without that reference. Returns None if the node refers to `name` anywhere else.
    """
    if name not in rules_in(node):
        return [], [node]
    match node:
        case Rule():
            return [Sequence(())], []
        case Choice(options):
            parts = [_split(name, option, at_end=at_end) for option in options]
            if None in parts:
                return None
            known = [part for part in parts if part is not None]
            return [n for loops, _ in known for n in loops], [
                n for _, exits in known for n in exits
            ]
        case Repeat(item, 0, 1):
            part = _split(name, item, at_end=at_end)
            return None if part is None else (part[0], [*part[1], Sequence(())])
        case Sequence(items):
            rest, last = (items[:-1], items[-1]) if at_end else (items[1:], items[0])
            part = _split(name, last, at_end=at_end)
            if part is None or any(name in rules_in(item) for item in rest):
                return None
            before, after = (rest, ()) if at_end else ((), rest)
            loops, exits = ([sequence([*before, n, *after]) for n in nodes] for nodes in part)
            return loops, exits
        case _:
            return None


def regular_rules(rules: Rules, order: Iterable[str], max_size: int) -> set[str]:
    """The rules that a regular expression of limited size could replace.

    Such rules refer to no tokens and to regular rules only. `order` is the order of `reachable`.
    The size is the number of nodes after all references are replaced by the rules they name.
    """
    sizes: dict[str, int] = {}
    for name in order:
        size = 0
        for node in walk(rules[name]):
            if isinstance(node, Token) or (isinstance(node, Rule) and node.name not in sizes):
                break
            size += sizes[node.name] if isinstance(node, Rule) else 1
        else:
            if size <= max_size:
                sizes[name] = size
    return set(sizes)
