"""The precise router's index and choice: whatever order events come in, and replicas that go."""

from __future__ import annotations

import random

from loadtests.routing.precise import BlockIndex, Load, choose
from loadtests.routing.subscriber import AllBlocksCleared, BlockRemoved, BlockStored

SIZE = 2


def stored(name: int, parent: int | None, *tokens: int, medium: str = "GPU") -> BlockStored:
    return BlockStored([name], parent, list(tokens), SIZE, medium=medium)


def score(index: BlockIndex, replica: str, *tokens: int) -> float:
    return index.prefix_score(replica, index.keys(tokens), now=0.0)


def test_a_prefix_is_found_as_far_as_it_reaches() -> None:
    index = BlockIndex(SIZE)
    index.apply("a", stored(7, None, 1, 2))
    index.apply("a", stored(8, 7, 3, 4, medium="CPU"))
    assert score(index, "a", 1, 2, 3, 4) == 0.9
    assert score(index, "a", 1, 2, 5, 6) == 0.5
    assert score(index, "a", 3, 4) == 0.0
    assert score(index, "b", 1, 2) == 0.0
    index.apply("a", BlockRemoved([7], "GPU"))
    assert score(index, "a", 1, 2, 3, 4) == 0.0


def test_a_block_without_its_parent_stays_unknown() -> None:
    index = BlockIndex(SIZE)
    index.apply("a", stored(8, 7, 3, 4))
    index.apply("a", stored(9, 8, 5, 6))
    index.apply("a", BlockRemoved([8, 9], "GPU"))
    assert score(index, "a", 3, 4) == 0.0
    index.apply("a", stored(7, None, 1, 2))
    assert score(index, "a", 1, 2) == 1.0


def test_what_is_cleared_or_gone_is_forgotten_of_one_replica_alone() -> None:
    index = BlockIndex(SIZE)
    for replica in "ab":
        index.apply(replica, stored(7, None, 1, 2))
    index.apply("a", AllBlocksCleared())
    assert (score(index, "a", 1, 2), score(index, "b", 1, 2)) == (0.0, 1.0)
    index.expect("b", index.keys([1, 2, 3, 4]), now=0.0)
    index.forget("b")
    assert score(index, "b", 1, 2) == 0.0


def test_the_replica_with_the_prefix_wins_until_its_queue_is_long() -> None:
    index = BlockIndex(SIZE)
    index.apply("a", stored(7, None, 1, 2))
    keys = index.keys([1, 2])
    dice = random.Random(1)
    assert choose(index, {"a": Load(), "b": Load()}, keys, 0.0, dice) == "a"
    assert choose(index, {"a": Load(9.0, 0.9), "b": Load()}, keys, 0.0, dice) == "b"
    assert choose(index, {"b": Load(5.0, 1.0)}, keys, 0.0, dice) == "b"
