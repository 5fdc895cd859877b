"""Properties of a grammar's rules: which rules can end, are regular, or can become repetitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from grammars.conditions import Conditions
from grammars.gbnf.nodes import (
    Chars,
    Choice,
    Contains,
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
    return set(names) - _satisfied(rules, names, leaves=True)


def nullable(rules: Rules, names: Iterable[str]) -> set[str]:
    """The rules that the empty text satisfies."""
    return _satisfied(rules, list(names), leaves=False)


def is_nullable(node: Node, nullable_rules: Set[str]) -> bool:
    """Whether the empty text satisfies a node, given the rules that it satisfies."""
    match node:
        case Rule(name):
            return name in nullable_rules
        case Sequence(items):
            return all(is_nullable(item, nullable_rules) for item in items)
        case Choice(options):
            return any(is_nullable(option, nullable_rules) for option in options)
        case Repeat(item, least):
            return least == 0 or is_nullable(item, nullable_rules)
        case Lexeme(inner):
            return is_nullable(inner, nullable_rules)
        case Chars() | Token():
            return False


def _satisfied(rules: Rules, names: list[str], *, leaves: bool) -> set[str]:
    """The rules that can be satisfied if characters and tokens can (`leaves`), or can't."""
    conditions = Conditions()
    of_rules = {name: conditions.new() for name in names}
    leaf = conditions.all_of(()) if leaves else conditions.any_of(())

    def condition(node: Node) -> int:
        match node:
            case Rule(name):
                return of_rules[name]
            case Sequence(items):
                return conditions.all_of(map(condition, items))
            case Choice(options):
                return conditions.any_of(map(condition, options))
            case Repeat(item, least):
                return conditions.all_of(()) if least == 0 else condition(item)
            case Chars() | Token() | Lexeme():
                return leaf

    for name, result in of_rules.items():
        conditions.link(result, condition(rules[name]))
    holding = conditions.holding()
    return {name for name, result in of_rules.items() if result in holding}


def unroll_recursion(name: str, node: Node) -> Node:
    """Turn a rule that refers to itself at its beginning or end into a repetition.

    `a ::= x a | y` becomes `x* y`, and `a ::= a x | y` becomes `y x*`. The texts stay the same.
    llguidance's parser keeps an item for each level of recursion, but none for a repetition.
    """
    contains = Contains(lambda below: isinstance(below, Rule) and below.name == name)
    if not contains(node):
        return node
    for at_end in (True, False):
        parts = _split(contains, node, at_end=at_end)
        if parts is not None:
            loops, exits = parts
            loop = Repeat(choice(loops), 0, None)
            items = [loop, choice(exits)] if at_end else [choice(exits), loop]
            return sequence(items)
    return node


def _split(contains: Contains, node: Node, *, at_end: bool) -> tuple[list[Node], list[Node]] | None:
    """Divide the alternatives of a node into the recursive ones and the others.

    A recursive alternative ends with the reference that `contains` finds (begins with it, without
    `at_end`) and is returned without that reference. Returns None if the node has such a reference
    anywhere else.
    """
    if not contains(node):
        return [], [node]
    match node:
        case Rule():
            return [Sequence(())], []
        case Choice(options):
            parts = [_split(contains, option, at_end=at_end) for option in options]
            if None in parts:
                return None
            known = [part for part in parts if part is not None]
            return [n for loops, _ in known for n in loops], [
                n for _, exits in known for n in exits
            ]
        case Repeat(item, 0, 1):
            part = _split(contains, item, at_end=at_end)
            return None if part is None else (part[0], [*part[1], Sequence(())])
        case Sequence(items):
            rest, last = (items[:-1], items[-1]) if at_end else (items[1:], items[0])
            part = _split(contains, last, at_end=at_end)
            if part is None or any(map(contains, rest)):
                return None
            before, after = (rest, ()) if at_end else ((), rest)
            # The rest is repeated twice at most, not for each alternative.
            loops, exits = (
                [sequence([*before, choice(nodes), *after])] if nodes else [] for nodes in part
            )
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
