"""Masks of rules that include the masks of other rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping


def unions(own: Mapping[str, int], included: Mapping[str, Collection[str]]) -> dict[str, int]:
    """By rule: its own mask, joined with the masks of all rules that it includes.

    Rules that include each other have the same mask. The number of unions is linear in the number
    of rules and inclusions.
    """
    result: dict[str, int] = {}
    for circle in _circles(included):
        mask = 0
        for name in circle:
            mask |= own[name]
            for other in included[name]:
                mask |= result.get(other, 0)
        result.update(dict.fromkeys(circle, mask))
    return result


def _circles(below: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """The strongly connected components of a graph, each after those that it leads to.

    The search keeps two stacks: nodes whose component isn't known, and the first nodes that the
    components on the current path can have (Gabow's algorithm).
    """
    numbers: dict[str, int] = {}
    """By node: in which order it was found; those of finished components are too large to count."""
    unassigned: list[str] = []
    firsts: list[str] = []
    for root in below:
        path = [(root, iter(below[root]))] if root not in numbers else []
        while path:
            name, others = path[-1]
            if name not in numbers:
                numbers[name] = len(numbers)
                unassigned.append(name)
                firsts.append(name)
            found = next((other for other in others if _joins(other, numbers, firsts)), None)
            if found is not None:
                path.append((found, iter(below[found])))
                continue
            path.pop()
            if firsts[-1] == name:
                firsts.pop()
                circle = _popped_to(name, unassigned)
                numbers.update(dict.fromkeys(circle, len(below)))
                yield circle


def _joins(other: str, numbers: Mapping[str, int], firsts: list[str]) -> bool:
    """Whether a node is new. A node that was found before joins components into one."""
    if other not in numbers:
        return True
    while numbers[firsts[-1]] > numbers[other]:
        firsts.pop()
    return False


def _popped_to(name: str, stack: list[str]) -> list[str]:
    popped = [stack.pop()]
    while popped[-1] != name:
        popped.append(stack.pop())
    return popped
