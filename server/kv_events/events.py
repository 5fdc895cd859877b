"""The link between the engines' events about blocks and the subscribers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from config import ServeSettings
from protocol.blocks import BlockEvent
from protocol.commands import LoraSet
from server.kv_events.told_blocks import ToldBlocks
from server.kv_events.wire import AllBlocksCleared, TopicEvents, WireEvent
from server.startup import StartupError

LoraName = Callable[[LoraSet], str | None]


class Publisher(Protocol):
    """Who brings batches of events to subscribers."""

    @property
    def sequence(self) -> int:
        """The number of the last batch; -1 before the first."""
        ...

    def start(self) -> None:
        """Begin to answer who has missed some."""
        ...

    def publish(self, make: Callable[[], Iterable[TopicEvents]]) -> None:
        """Send the messages that `make` returns."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


class ModelBlocks:
    """Tells subscribers what becomes of the blocks of one model, while it is loaded."""

    def __init__(self, events: KvEvents, model: str, told: ToldBlocks) -> None:
        self.model = model
        self.told = told
        self._events = events

    def changed(self, events: list[BlockEvent]) -> None:
        """The engine has told of changes."""
        self._events.tell(self, lambda: self.told.apply(events))

    def engine_ended(self) -> None:
        """All blocks are gone. The next engine tells what it has."""
        self._events.tell(self, self.told.clear)

    def adapters_changed(self) -> None:
        """Sets of adapters have other names now."""
        self._events.tell(self, self.told.rename)


class KvEvents:
    """Tells subscribers what becomes of the caches' blocks, under a topic for each model."""

    def __init__(self, block_size: int) -> None:
        """Events can be told once there is a publisher, and it has started."""
        self._block_size = block_size
        self._models: dict[str, ModelBlocks] = {}
        self._topics: dict[str, str] = {}
        self._topic_of: Callable[[str], str] = lambda model: model
        self.publisher: Publisher | None = None

    @property
    def sequence(self) -> int:
        """The number of the last batch; -1 before the first."""
        return -1 if self.publisher is None else self.publisher.sequence

    def start(self, topic_of: Callable[[str], str]) -> None:
        """Begin to publish. `topic_of` has the topic of a model's name."""
        assert self.publisher is not None
        self._topic_of = topic_of
        self.publisher.start()

    def of_model(self, model: str, lora_name: LoraName) -> ModelBlocks:
        """Whom a model's engine tells of its blocks; those that it had before must have ended.

        `lora_name` has the name under which clients ask for a set of adapters; None for the model
        itself.
        """
        blocks = ModelBlocks(self, model, ToldBlocks(self._block_size, lora_name))
        self._models[model] = blocks
        return blocks

    def tell(self, blocks: ModelBlocks, change: Callable[[], list[WireEvent]]) -> None:
        """Publish the events that a change of what was told causes, if any."""
        assert self.publisher is not None
        self.publisher.publish(lambda: self._told(blocks, change()))

    def snapshot(self) -> list[TopicEvents]:
        """What tells a subscriber who knows nothing all that others know.

        Everything is cleared first, because some routers clear all topics of one address at once.
        """
        clear: list[WireEvent] = [AllBlocksCleared()]
        blocks = list(self._models.values())
        told = [TopicEvents(self._topic(one), clear) for one in blocks[1:]]
        for one in blocks[:1]:
            told.append(TopicEvents(self._topic(one), [*clear, *one.told.all()]))
        return told + [TopicEvents(self._topic(one), list(one.told.all())) for one in blocks[1:]]

    def close(self) -> None:
        """Stop publishing."""
        if self.publisher is not None:
            self.publisher.close()

    def _told(self, blocks: ModelBlocks, events: list[WireEvent]) -> Iterator[TopicEvents]:
        if not events:
            return
        yield TopicEvents(self._topic(blocks), events)
        if any(isinstance(event, AllBlocksCleared) for event in events):
            yield from self._others_again(blocks)

    def _others_again(self, cleared: ModelBlocks) -> Iterator[TopicEvents]:
        """The blocks of the other models: routers may take a server for one cache, and clear all.

        llm-d's does. To routers that know models apart this tells nothing new.
        """
        for one in list(self._models.values()):
            if one is not cleared and (events := list(one.told.all())):
                yield TopicEvents(self._topic(one), events)

    def _topic(self, blocks: ModelBlocks) -> str:
        model = blocks.model
        if model not in self._topics:
            self._topics[model] = self._topic_of(model)
        return self._topics[model]


def open_kv_events(settings: ServeSettings, *, has_several: bool = False) -> KvEvents | None:
    """None without an endpoint. Raises `StartupError`, also if ZeroMQ is not installed.

    `has_several` says whether the server has several models.
    """
    if settings.kv_events_endpoint is None:
        return None
    try:
        from server.kv_events.publisher import EventPublisher
    except ImportError as error:
        text = f"--kv-events-endpoint needs pip install 'llamapack[kv-events]': {error}"
        raise StartupError(text) from error
    events = KvEvents(settings.kv_events_block_size)
    events.publisher = EventPublisher(
        settings.kv_events_endpoint,
        settings.kv_events_replay_endpoint,
        events.snapshot,
        names_topics=has_several,
    )
    return events
