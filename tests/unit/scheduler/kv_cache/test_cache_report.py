"""The picture of the prefix index: what it shows, and what it leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.messages import CacheNode, CacheReport
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_scope import CacheScope
from scheduler.core.context_limits import ContextLimits
from scheduler.core.state_sizes import StateSizes
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.cache_report import NUM_FIRST, cache_report

CELL = 10
"""Bytes."""


def manager(n_slots: int = 4) -> KVCacheManager:
    limits = ContextLimits(
        n_slots=n_slots,
        n_ctx_slot=1000,
        n_ctx=4000,
        n_batch=64,
        end_tokens=frozenset(),
        abilities=CacheAbilities(),
        cache_bytes=10**9,
        sizes=StateSizes(CELL),
    )
    return KVCacheManager(limits)


def fill(
    cache: KVCacheManager, slot: int, tokens: list[int], scope: CacheScope | None = None
) -> None:
    cache.fill(cache.slots[slot], tokens, scope or CacheScope())


def below(report: CacheReport, parent: CacheNode) -> list[CacheNode]:
    return [node for node in report.nodes if node.parent == parent.id]


def test_slots_that_share_a_beginning() -> None:
    cache = manager()
    shared = list(range(100, 150))
    fill(cache, 0, [*shared, 1, 2, 3])
    fill(cache, 2, [*shared, 4, 5])
    report = cache_report(cache, 50)
    root = report.nodes[0]
    assert (root.parent, root.num_tokens) == (None, 0)
    (trunk,) = below(report, root)
    assert (trunk.start, trunk.num_tokens, trunk.slots) == (0, 50, (0, 2))
    assert trunk.first == tuple(shared[:NUM_FIRST])
    branches = {
        node.slots: (node.start, node.num_tokens, node.first) for node in below(report, trunk)
    }
    assert branches == {(0,): (50, 3, (1, 2, 3)), (2,): (50, 2, (4, 5))}


def test_an_empty_cache() -> None:
    report = cache_report(manager(), 50)
    assert (report.nodes, report.num_hidden_scopes, report.num_bytes) == ([], 0, 0)
    assert report.capacity == 10**9


def test_host_memory_is_counted_where_its_prefixes_end() -> None:
    cache = manager()
    tokens = list(range(100, 200))
    fill(cache, 0, tokens)
    cache.vacate(cache.slots[0])
    assert cache.adopt([*tokens[:80], *range(300, 320)], CacheScope()) is not None
    report = cache_report(cache, 50)
    assert (report.num_saved, report.num_bytes) == (2, 200 * CELL)
    (trunk,) = below(report, report.nodes[0])
    assert (trunk.num_tokens, trunk.num_saved, trunk.num_from_disk, trunk.num_bytes) == (
        80,
        2,
        1,
        0,
    )
    ends = sorted(
        (node.num_tokens, node.num_from_disk, node.num_bytes) for node in below(report, trunk)
    )
    assert ends == [(20, 0, 100 * CELL), (20, 1, 100 * CELL)]


def test_scopes_have_roots_of_their_own() -> None:
    cache = manager()
    fill(cache, 0, [1, 2, 3], CacheScope("alice"))
    fill(cache, 1, [1, 2, 3], CacheScope("", (("adapter", 1.0),)))
    roots = [node for node in cache_report(cache, 50).nodes if node.parent is None]
    assert {(root.salt, root.has_adapters) for root in roots} == {("alice", False), ("", True)}


def test_a_node_keeps_its_id_while_it_exists() -> None:
    cache = manager()
    fill(cache, 0, [1, 2, 3, 4])
    before = cache_report(cache, 50).nodes[-1].id
    fill(cache, 1, [1, 2, 9])
    after = cache_report(cache, 50).nodes
    assert [node.first for node in after if node.id == before] == [(3, 4)]


@pytest.mark.parametrize("most", [1, 2, 5, 17])
def test_the_most_shared_nodes_are_shown(most: int) -> None:
    cache = manager(n_slots=20)
    for slot in range(19):
        fill(cache, slot, [7, 7, 7, 100 + slot])
    fill(cache, 19, [8, 8])
    nodes = cache_report(cache, most).nodes
    assert len(nodes) == most
    if most >= 2:
        assert nodes[1].first == (7, 7, 7)
        assert nodes[1].num_hidden == 19 - sum(node.parent == nodes[1].id for node in nodes)


def test_scopes_that_are_left_out_are_counted() -> None:
    cache = manager(n_slots=8)
    for slot in range(8):
        fill(cache, slot, [slot], CacheScope(str(slot)))
    assert cache_report(cache, 3).num_hidden_scopes >= 5


token_lists = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=6)


@given(token_lists, st.integers(1, 12))
def test_no_report_is_larger_than_asked_and_parents_come_first(
    lists: list[list[int]], most: int
) -> None:
    cache = manager(n_slots=6)
    for slot, tokens in enumerate(lists):
        fill(cache, slot, tokens)
    nodes = cache_report(cache, most).nodes
    assert len(nodes) <= most
    seen: set[int] = set()
    for node in nodes:
        assert node.parent is None or node.parent in seen
        seen.add(node.id)


@given(token_lists)
def test_a_whole_report_has_every_token_of_every_slot(lists: list[list[int]]) -> None:
    cache = manager(n_slots=6)
    for slot, tokens in enumerate(lists):
        fill(cache, slot, tokens)
    nodes = cache_report(cache, 1000).nodes
    for slot, tokens in enumerate(lists):
        held = [node for node in nodes if slot in node.slots]
        assert sum(node.num_tokens for node in held) == len(tokens)
    assert all(node.num_hidden == 0 for node in nodes)
