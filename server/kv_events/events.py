"""The link between the engine's events about blocks and the subscribers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from config import ServeSettings
from protocol.blocks import BlockEvent
from protocol.commands import LoraSet
from server.kv_events.told_blocks import ToldBlocks
from server.kv_events.wire import WireEvent
from server.startup import StartupError


class Publisher(Protocol):
    """Who brings batches of events to subscribers."""

    @property
    def sequence(self) -> int:
        """The number of the last batch; -1 before the first."""
        ...

    def start(self, topic: str) -> None:
        """Begin to publish under a topic."""
        ...

    def publish(self, make: Callable[[], list[WireEvent]]) -> None:
        """Send a batch of the events that `make` returns, if there are any."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


class KvEvents:
    """Tells subscribers what becomes of the cache's blocks."""

    def __init__(self, told: ToldBlocks, publisher: Publisher) -> None:
        self._told = told
        self._publisher = publisher

    @property
    def sequence(self) -> int:
        """The number of the last batch; -1 before the first."""
        return self._publisher.sequence

    def start(self, topic: str) -> None:
        """Begin to publish under a topic."""
        self._publisher.start(topic)

    def blocks_changed(self, events: list[BlockEvent]) -> None:
        """The engine has told of changes."""
        self._publisher.publish(lambda: self._told.apply(events))

    def engine_died(self) -> None:
        """All blocks are gone. The next engine tells what it has."""
        self._publisher.publish(self._told.clear)

    def adapters_changed(self) -> None:
        """Sets of adapters have other names now."""
        self._publisher.publish(self._told.rename)

    def close(self) -> None:
        """Stop publishing."""
        self._publisher.close()


def open_kv_events(
    settings: ServeSettings, lora_name: Callable[[LoraSet], str | None]
) -> KvEvents | None:
    """None without an endpoint. Raises `StartupError`, also if ZeroMQ is not installed."""
    if settings.kv_events_endpoint is None:
        return None
    try:
        from server.kv_events.publisher import EventPublisher
    except ImportError as error:
        text = f"--kv-events-endpoint needs pip install 'llamapack[kv-events]': {error}"
        raise StartupError(text) from error
    told = ToldBlocks(settings.kv_events_block_size, lora_name)
    publisher = EventPublisher(
        settings.kv_events_endpoint, settings.kv_events_replay_endpoint, told.snapshot
    )
    return KvEvents(told, publisher)
