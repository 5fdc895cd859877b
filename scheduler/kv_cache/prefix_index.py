"""A radix tree over the tokens that slots and cached prefixes hold."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from scheduler.core.cache_scope import NO_SCOPE, CacheScope

T = TypeVar("T", bound=Hashable)


def common_prefix_length(a: list[int], b: list[int], limit: int) -> int:
    """Number of equal leading tokens, at most `limit` (which fits both)."""
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit
    while high - low > 1:  # a[:low] equals b[:low], a[:high] differs from b[:high]
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


_ids = itertools.count()


class Node(Generic[T]):
    """The tokens from one branching to the next, and their holders. Read only for others."""

    __slots__ = ("children", "edge", "holders", "id", "parent")

    def __init__(self, edge: list[int], holders: set[T], parent: Node[T] | None) -> None:
        self.id = next(_ids)
        self.edge = edge
        self.holders = holders
        self.parent = parent
        self.children: dict[int, Node[T]] = {}


class PrefixIndex(Generic[T]):
    """Finds the common prefix of a sequence with every holder in one walk.

    Each holder has one list of tokens. Lists of different scopes share nothing.
    """

    def __init__(self) -> None:
        self._roots: dict[CacheScope, Node[T]] = {}
        self._ends: dict[T, Node[T]] = {}
        self._scopes: dict[T, CacheScope] = {}
        self._lengths: dict[T, int] = {}

    def put(self, holder: T, tokens: list[int], scope: CacheScope = NO_SCOPE) -> None:
        """Record the tokens of a holder; what it held before is forgotten."""
        self.remove(holder)
        node = self._roots.setdefault(scope, Node([], set(), None))
        done = 0
        while done < len(tokens):
            child = node.children.get(tokens[done])
            if child is None:
                child = Node(tokens[done:], set(), node)
                node.children[tokens[done]] = child
            rest = tokens[done:]
            shared = common_prefix_length(child.edge, rest, min(len(child.edge), len(rest)))
            if shared < len(child.edge):
                child = self._split(child, shared)
            child.holders.add(holder)
            node = child
            done += shared
        self._ends[holder] = node
        self._scopes[holder] = scope
        self._lengths[holder] = len(tokens)

    def remove(self, holder: T) -> None:
        """Forget a holder, which may be unknown."""
        node = self._ends.pop(holder, None)
        if node is None:
            return
        while node.parent is not None:
            node.holders.discard(holder)
            if not node.holders:
                del node.parent.children[node.edge[0]]
            node = node.parent
        del self._lengths[holder]
        scope = self._scopes.pop(holder)
        if scope not in self._scopes.values():
            del self._roots[scope]  # clients choose salts, so scopes must not pile up

    @property
    def roots(self) -> Mapping[CacheScope, Node[T]]:
        """By scope, the node above all nodes; it has no tokens, and no holders of its own."""
        return self._roots

    def end_of(self, holder: T) -> Node[T] | None:
        """The node in which the tokens of a holder end; None if the holder is unknown."""
        return self._ends.get(holder)

    def clear(self) -> None:
        """Forget all holders."""
        self._roots.clear()
        self._ends.clear()
        self._scopes.clear()
        self._lengths.clear()

    def length(self, holder: T) -> int:
        """How many tokens are recorded of a holder; 0 if it is unknown."""
        return self._lengths.get(holder, 0)

    def shared(self, tokens: list[int], scope: CacheScope = NO_SCOPE) -> dict[T, int]:
        """By holder, the length of the common prefix; holders without one are missing."""
        lengths: dict[T, int] = {}
        for node, length in self._path(tokens, scope):
            lengths.update(dict.fromkeys(node.holders, length))
        return lengths

    def _path(self, tokens: list[int], scope: CacheScope) -> Iterator[tuple[Node[T], int]]:
        """The nodes along the tokens, each with the number of tokens that match so far. In the last
        node the match may end within the edge."""
        node = self._roots.get(scope)
        done = 0
        while node is not None and done < len(tokens):
            node = node.children.get(tokens[done])
            if node is None:
                return
            limit = min(len(node.edge), len(tokens) - done)
            matched = common_prefix_length(node.edge, tokens[done : done + limit], limit)
            done += matched
            yield node, done
            if matched < len(node.edge):
                return

    def _split(self, node: Node[T], at: int) -> Node[T]:
        """Put a new node before this one; it takes the first `at` tokens of the edge."""
        parent = node.parent
        assert parent is not None
        front = Node(node.edge[:at], set(node.holders), parent)
        parent.children[front.edge[0]] = front
        node.edge, node.parent = node.edge[at:], front
        front.children[node.edge[0]] = node
        return front
