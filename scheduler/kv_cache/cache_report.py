"""A picture of the prefix index and of host memory, for `Inspect`: the nodes with most holders."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable

from protocol.messages import CacheNode, CacheReport
from scheduler.core.cache_scope import CacheScope
from scheduler.core.sequence import Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.host_cache import CachedPrefix, Checkpoint
from scheduler.kv_cache.placement import CacheHolder
from scheduler.kv_cache.prefix_index import Node

NUM_FIRST = 12
"""Tokens of a node that the report names: enough for a line of text."""

_Rank = tuple[int, int, int]
_Entry = tuple[_Rank, int, Node[CacheHolder]]
"""A node that may be shown next, with the position of its first token."""


def cache_report(cache: KVCacheManager, max_nodes: int) -> CacheReport:
    """What the prefix index holds, in at most `max_nodes` nodes.

    The time that this takes depends on the number of shown nodes and their children, not on the
    size of the index.
    """
    roots, host = cache.index.roots, cache.host_cache
    shown, num_hidden = _chosen(roots.values(), max_nodes)
    scopes = {root.id: scope for scope, root in roots.items()}
    nodes = [
        _node(node, start, cache.index.end_of, num_hidden.get(node.id, 0), scopes.get(node.id))
        for node, start in shown
    ]
    return CacheReport(
        nodes=nodes,
        num_hidden_scopes=len(roots) - sum(node.parent is None for node in nodes),
        num_saved=len(host) - host.num_checkpoints,
        num_checkpoints=host.num_checkpoints,
        num_bytes=host.size,
        capacity=host.capacity,
    )


def _chosen(
    roots: Collection[Node[CacheHolder]], max_nodes: int
) -> tuple[list[tuple[Node[CacheHolder], int]], dict[int, int]]:
    """The nodes to show, each with its start, parents first.

    Also by node: how many of its children are left out.
    """
    waiting = _best(((root, 0) for root in roots), max_nodes)
    heapq.heapify(waiting)
    shown: list[tuple[Node[CacheHolder], int]] = []
    num_hidden: dict[int, int] = {}
    while waiting and len(shown) < max_nodes:
        _, start, node = heapq.heappop(waiting)
        shown.append((node, start))
        if node.parent is not None:
            num_hidden[node.parent.id] -= 1
        num_hidden[node.id] = len(node.children)
        below = start + len(node.edge)
        children = ((child, below) for child in node.children.values())
        for entry in _best(children, max_nodes - len(shown)):
            heapq.heappush(waiting, entry)
    return shown, num_hidden


def _best(nodes: Iterable[tuple[Node[CacheHolder], int]], count: int) -> list[_Entry]:
    """The nodes that many holders share come first, and among those the long ones."""
    return heapq.nsmallest(count, ((_rank(node), start, node) for node, start in nodes))


def _rank(node: Node[CacheHolder]) -> _Rank:
    if node.parent is None:
        num_holders = sum(len(child.holders) for child in node.children.values())
        return -num_holders, 0, node.id
    return -len(node.holders), -len(node.edge), node.id


def _node(
    node: Node[CacheHolder],
    start: int,
    end_of: Callable[[CacheHolder], Node[CacheHolder] | None],
    num_hidden: int,
    scope: CacheScope | None,
) -> CacheNode:
    saved = [holder for holder in node.holders if isinstance(holder, CachedPrefix)]
    checkpoints = [holder for holder in node.holders if isinstance(holder, Checkpoint)]
    entries: list[CachedPrefix | Checkpoint] = [*saved, *checkpoints]
    return CacheNode(
        id=node.id,
        parent=None if node.parent is None else node.parent.id,
        start=start,
        num_tokens=len(node.edge),
        first=tuple(node.edge[:NUM_FIRST]),
        slots=tuple(sorted(holder.id for holder in node.holders if isinstance(holder, Slot))),
        num_saved=len(saved),
        num_from_disk=sum(prefix.is_from_disk for prefix in saved),
        num_checkpoints=len(checkpoints),
        num_bytes=sum(entry.size for entry in entries if end_of(entry) is node),
        num_hidden=num_hidden,
        salt="" if scope is None else scope.salt,
        has_adapters=scope is not None and bool(scope.lora),
    )
