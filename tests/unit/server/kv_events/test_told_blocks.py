"""What subscribers hear: vLLM's arrays, with the names and keys that tell blocks apart."""

from __future__ import annotations

import msgspec
import pytest

from loadtests.routing import subscriber as vllm
from protocol.blocks import BlockEvent, BlocksCleared, BlocksRemoved, BlocksStored, Medium
from protocol.commands import LoraSet
from server.kv_events.told_blocks import ToldBlocks
from server.kv_events.wire import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    EventBatch,
    WireEvent,
)

LORA = (("digest", 1.0),)
NAMES: dict[LoraSet, str | None] = {(): None, LORA: "poet"}


def told(names: dict[LoraSet, str | None] | None = None) -> ToldBlocks:
    return ToldBlocks(2, (NAMES if names is None else names).__getitem__)


def stored(*hashes: int, parent: int | None = None, **fields: object) -> BlocksStored:
    tokens = [number for name in hashes for number in (name, name + 1)]
    return BlocksStored(Medium.GPU, list(hashes), parent, tokens, **fields)  # type: ignore[arg-type]


def test_the_form_is_vllm_s() -> None:
    events: list[BlockEvent] = [
        BlocksCleared(),
        stored(7, 9, salt="mine", lora=LORA),
        stored(11, parent=9, salt="mine", lora=LORA),
        BlocksRemoved(Medium.CPU, [2**64 - 1]),
    ]
    raw = msgspec.msgpack.encode(EventBatch(1.5, told().apply(events)))
    assert msgspec.msgpack.decode(raw) == [
        1.5,
        [
            ["AllBlocksCleared"],
            ["BlockStored", [7, 9], None, [7, 8, 9, 10], 2, None, "GPU", "poet",
             [["poet", "mine"], ["poet"]]],
            ["BlockStored", [11], 9, [11, 12], 2, None, "GPU", "poet", [["poet"]]],
            ["BlockRemoved", [2**64 - 1], "CPU"],
        ],
        None,
    ]  # fmt: skip
    batch = msgspec.msgpack.decode(raw, type=vllm.KVEventBatch)
    assert [type(event).__name__ for event in batch.events] == [
        *("AllBlocksCleared", "BlockStored", "BlockStored", "BlockRemoved")
    ]


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        (stored(7, 9), None),
        (stored(7, 9, salt="mine"), [("mine",), None]),
        (stored(7, parent=5, salt="mine"), None),
        (stored(7, 9, lora=LORA), [("poet",), ("poet",)]),
    ],
)
def test_extra_keys_name_the_adapter_everywhere_and_the_salt_at_the_beginning(
    event: BlocksStored, keys: object
) -> None:
    (wire,) = told().apply([event])
    assert isinstance(wire, BlockStored)
    assert wire.extra_keys == keys


def test_what_an_engine_had_is_taken_back_block_by_block_and_as_a_whole() -> None:
    blocks = told()
    blocks.apply([stored(7, 9), BlocksStored(Medium.CPU, [7], None, [7, 8])])
    assert blocks.clear() == [
        BlockRemoved([7, 9], "GPU"),
        BlockRemoved([7], "CPU"),
        AllBlocksCleared(),
    ]
    assert blocks.clear() == [AllBlocksCleared()]


def test_a_snapshot_tells_a_late_subscriber_what_the_others_know() -> None:
    blocks = told()
    early, late = Follower(), Follower()
    batches: list[list[BlockEvent]] = [
        [stored(7, 9, 11), stored(13, parent=7, salt="", lora=())],
        [BlocksRemoved(Medium.GPU, [11]), BlocksStored(Medium.CPU, [7, 9, 11], None, [0] * 6)],
    ]
    for events in batches:
        early.take(blocks.apply(events))
    late.take(list(blocks.all()))
    assert late.held == early.held == {"GPU": {7, 9, 13}, "CPU": {7, 9, 11}}


def test_blocks_whose_adapters_get_another_name_are_told_again_with_their_parents_first() -> None:
    names = dict(NAMES)
    blocks, view = told(names), Follower()
    view.take(blocks.apply([stored(7, 9, lora=LORA), stored(5)]))
    assert blocks.rename() == []
    names[LORA] = None
    events = blocks.rename()
    view.take(events)
    assert view.held == {"GPU": {5, 7, 9}}
    assert events[0] == BlockRemoved([7, 9], "GPU")
    again = [event for event in events[1:] if isinstance(event, BlockStored)]
    assert [(event.block_hashes, event.lora_name) for event in again] == [([7], None), ([9], None)]


class Follower:
    """A subscriber who knows that parents come first."""

    def __init__(self) -> None:
        self.held: dict[str, set[int]] = {}

    def take(self, events: list[WireEvent]) -> None:
        for event in events:
            match event:
                case AllBlocksCleared():
                    self.held.clear()
                case BlockRemoved():
                    self.held[event.medium] -= set(event.block_hashes)
                case BlockStored():
                    names = self.held.setdefault(event.medium, set())
                    assert event.parent_block_hash in {None, *names}
                    names |= set(event.block_hashes)
