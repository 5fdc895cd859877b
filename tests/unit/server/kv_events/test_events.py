"""Events of several models: each under its topic, right for routers that take a server for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from protocol.blocks import BlocksStored, Medium
from server.kv_events.events import KvEvents, ModelBlocks
from server.kv_events.wire import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    TopicEvents,
    WireEvent,
)

Held = dict[str, set[tuple[str, int]]]


class Followers:
    """Two subscribers: one keeps topics apart, one clears all of them at once, as llm-d does."""

    def __init__(self) -> None:
        self.sequence = -1
        self.apart: Held = {}
        self.together: Held = {}

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def publish(self, make: Callable[[], Iterable[TopicEvents]]) -> None:
        for told in make():
            self.take(told)

    def take(self, told: TopicEvents) -> None:
        self.sequence += 1
        for held, is_apart in ((self.apart, True), (self.together, False)):
            for event in told.events:
                change(held, told.topic, event, is_apart=is_apart)


def change(held: Held, topic: str, event: WireEvent, *, is_apart: bool) -> None:
    blocks = held.setdefault(topic, set())
    match event:
        case BlockStored(medium=medium, block_hashes=names):
            blocks |= {(medium, name) for name in names}
        case BlockRemoved(medium=medium, block_hashes=names):
            blocks -= {(medium, name) for name in names}
        case AllBlocksCleared():
            for known in [blocks] if is_apart else held.values():
                known.clear()


def stored(*names: int, medium: Medium = Medium.GPU) -> BlocksStored:
    return BlocksStored(medium, list(names), None, [1] * 2 * len(names))


def two_models() -> tuple[KvEvents, Followers, ModelBlocks, ModelBlocks]:
    events, followers = KvEvents(2), Followers()
    events.publisher = followers
    events.start(lambda model: f"kv@here@{model}")
    one, two = (events.of_model(name, lambda lora: None) for name in ("one", "two"))
    one.changed([stored(5, 7), stored(9, medium=Medium.CPU)])
    two.changed([stored(6)])
    return events, followers, one, two


ALL = {"kv@here@one": {("GPU", 5), ("GPU", 7), ("CPU", 9)}, "kv@here@two": {("GPU", 6)}}


def test_each_model_has_its_topic() -> None:
    _, followers, _, _ = two_models()
    assert followers.apart == followers.together == ALL


def test_a_model_that_goes_takes_its_own_blocks_along_and_no_others() -> None:
    _, followers, one, two = two_models()
    one.engine_ended()
    left = {"kv@here@one": set(), "kv@here@two": ALL["kv@here@two"]}
    assert followers.apart == followers.together == left
    two.engine_ended()
    nothing: Held = {"kv@here@one": set(), "kv@here@two": set()}
    assert followers.apart == followers.together == nothing


def test_a_model_that_comes_back_tells_what_it_has() -> None:
    events, followers, one, _ = two_models()
    one.engine_ended()
    again = events.of_model("one", lambda lora: None)
    again.changed([stored(5)])
    held = {"kv@here@one": {("GPU", 5)}, "kv@here@two": ALL["kv@here@two"]}
    assert followers.apart == followers.together == held


def test_a_snapshot_tells_all_to_both_kinds_of_subscribers() -> None:
    events, _, _, _ = two_models()
    late = Followers()
    late.together = {"kv@here@one": {("GPU", 1)}, "kv@here@two": {("CPU", 2)}}
    late.apart = {topic: set(names) for topic, names in late.together.items()}
    for told in events.snapshot():
        late.take(told)
    assert late.apart == late.together == ALL
    assert late.sequence <= events.sequence + 2


def test_a_snapshot_of_one_model_is_one_message() -> None:
    events = KvEvents(2)
    events.publisher = Followers()
    events.of_model("one", lambda lora: None).changed([stored(5)])
    (told,) = events.snapshot()
    assert [type(event) for event in told.events] == [AllBlocksCleared, BlockStored]


def test_nothing_is_published_if_nothing_changed() -> None:
    _, followers, one, _ = two_models()
    before = followers.sequence
    one.changed([])
    one.adapters_changed()
    assert followers.sequence == before
