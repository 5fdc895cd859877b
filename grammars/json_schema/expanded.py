"""The size of a JSON value in which one object may stand in many places."""

from __future__ import annotations


def expanded_bytes(value: object) -> int:
    """A lower bound of the value's size as JSON text, without writing the text.

    An object that stands in many places is visited once. So the time is linear in what is in
    memory, even where the text would take gigabytes.
    """
    sizes: dict[int, int] = {}
    seen: set[int] = set()
    todo = [(value, False)]
    while todo:
        node, are_parts_known = todo.pop()
        if are_parts_known:
            sizes[id(node)] = _own_bytes(node) + sum(
                sizes[id(part)] if _is_container(part) else _scalar_bytes(part)
                for part in _parts(node)
            )
        elif id(node) not in seen:
            seen.add(id(node))
            todo.append((node, True))
            todo += [(part, False) for part in _parts(node) if _is_container(part)]
    return sizes[id(value)]


def _parts(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _is_container(node: object) -> bool:
    return isinstance(node, (dict, list))


def _own_bytes(node: object) -> int:
    """The brackets, and an object's keys."""
    return 2 + (sum(len(key) + 4 for key in node) if isinstance(node, dict) else 0)


def _scalar_bytes(node: object) -> int:
    return len(node) + 2 if isinstance(node, str) else 1
