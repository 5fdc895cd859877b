"""The prefix index, compared with a list of all holders."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from scheduler.core.cache_scope import NO_SCOPE, CacheScope
from scheduler.kv_cache.prefix_index import PrefixIndex, common_prefix_length

few_tokens = st.lists(st.integers(0, 1), max_size=40)
holders = st.integers(0, 5)
scopes = st.sampled_from(
    [NO_SCOPE, CacheScope("salt"), CacheScope("", (("a", 1.0),)), CacheScope("", (("a", 0.5),))]
)


def naive_length(a: list[int], b: list[int]) -> int:
    limit = min(len(a), len(b))
    return next((i for i in range(limit) if a[i] != b[i]), limit)


@given(few_tokens, few_tokens, few_tokens, st.data())
def test_common_prefix_length_equals_the_naive_one(
    shared: list[int], a: list[int], b: list[int], data: st.DataObject
) -> None:
    a, b = shared + a, shared + b
    limit = data.draw(st.integers(0, min(len(a), len(b))))
    assert common_prefix_length(a, b, limit) == min(limit, naive_length(a, b))


@dataclass
class PlainList:
    """The index as a plain list, without the tree."""

    held: dict[int, tuple[CacheScope, list[int]]] = field(default_factory=dict)

    def shared(self, tokens: list[int], scope: CacheScope) -> dict[int, int]:
        lengths = {
            holder: naive_length(tokens, held)
            for holder, (own_scope, held) in self.held.items()
            if own_scope == scope
        }
        return {holder: length for holder, length in lengths.items() if length}


class IndexMachine(RuleBasedStateMachine):
    """The tree and the naive list get the same changes and must give the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.index: PrefixIndex[int] = PrefixIndex()
        self.plain = PlainList()

    @rule(holder=holders, tokens=few_tokens, scope=scopes)
    def put(self, holder: int, tokens: list[int], scope: CacheScope) -> None:
        self.index.put(holder, tokens, scope)
        self.plain.held[holder] = (scope, tokens)

    @rule(holder=holders)
    def remove(self, holder: int) -> None:
        self.index.remove(holder)
        self.plain.held.pop(holder, None)

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.plain.held.clear()

    @rule(tokens=few_tokens, scope=scopes)
    def ask(self, tokens: list[int], scope: CacheScope) -> None:
        assert self.index.shared(tokens, scope) == self.plain.shared(tokens, scope)

    @invariant()
    def every_holder_is_found_with_all_its_tokens(self) -> None:
        for holder, (scope, tokens) in self.plain.held.items():
            assert self.index.shared(tokens, scope).get(holder, 0) == len(tokens)

    @invariant()
    def removed_holders_leave_no_scope_behind(self) -> None:
        assert set(self.index._roots) == {scope for scope, _ in self.plain.held.values()}


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
