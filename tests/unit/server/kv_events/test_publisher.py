"""Batches over real ZeroMQ sockets: in order, again for who asks, and from the beginning."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.harness.ports import free_port
from loadtests.routing.subscriber import Subscriber
from server.kv_events import publisher
from server.kv_events.publisher import EventPublisher
from server.kv_events.wire import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    TopicEvents,
    WireEvent,
)
from server.startup import StartupError
from tests.support.processes import wait_until

TOPIC = "kv@here:1@model"


def block(name: int) -> BlockStored:
    return BlockStored([name], None, [1, 2], 2, None, "GPU", None, None)


def tell(server: EventPublisher, *names: int) -> None:
    """Publish a batch for each block."""
    for name in names:
        events: list[WireEvent] = [block(name)]
        server.publish(lambda events=events: [TopicEvents(TOPIC, events)])  # type: ignore[misc]


@contextmanager
def publishing(folder: Path) -> Iterator[tuple[EventPublisher, Subscriber]]:
    """A publisher whose snapshot is the block 99, and a subscriber that has heard of it."""
    endpoint, replay = f"ipc://{folder}/pub", f"ipc://{folder}/replay"
    now = TopicEvents(TOPIC, [AllBlocksCleared(), block(99)])
    server = EventPublisher(endpoint, replay, lambda: [now])
    server.start()
    subscriber = Subscriber(endpoint, replay)
    try:
        yield server, subscriber
    finally:
        subscriber.close()
        server.close()


def reaches(subscriber: Subscriber, number: int) -> bool:
    subscriber.drain()
    return subscriber.last >= number


def test_batches_are_numbered_and_carry_the_topic(tmp_path: Path) -> None:
    with publishing(tmp_path) as (server, subscriber):

        def publish_until_heard() -> bool:
            tell(server, server.sequence + 2)
            return reaches(subscriber, 3)

        wait_until(publish_until_heard)
        assert subscriber.topic == TOPIC
        wait_until(lambda: reaches(subscriber, server.sequence))
        assert subscriber.held["GPU"] == set(range(1, server.sequence + 2))


def test_nothing_is_sent_if_there_are_no_events(tmp_path: Path) -> None:
    with publishing(tmp_path) as (server, _):
        server.publish(list)
        assert server.sequence == -1


def test_who_asks_gets_all_batches_from_a_number_on_and_then_the_end(tmp_path: Path) -> None:
    with publishing(tmp_path) as (server, subscriber):
        subscriber.catch_up()  # there is nothing yet
        tell(server, *range(1, 6))
        subscriber.last = 1
        subscriber.catch_up()
        assert subscriber.held["GPU"] == {3, 4, 5}


@pytest.mark.parametrize("limit", ["MAX_BATCHES", "MAX_BYTES"])
def test_who_asks_for_what_is_kept_no_more_gets_what_holds_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(publisher, limit, 3)
    with publishing(tmp_path) as (server, subscriber):
        tell(server, *range(1, 6))
        subscriber.catch_up()
        assert (subscriber.held["GPU"], subscriber.last) == ({99}, 4)


def told(topic: str, *events: WireEvent) -> TopicEvents:
    return TopicEvents(topic, list(events))


@pytest.mark.parametrize("limit", [10_000, 3])
def test_answers_about_several_models_name_the_topic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """All batches, or what holds now under numbers that are new to who asks."""
    monkeypatch.setattr(publisher, "MAX_BATCHES", limit)
    endpoint, replay = f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/replay"
    now = [
        told("b", AllBlocksCleared()),
        told("a", AllBlocksCleared(), block(3)),
        told("b", block(2), block(4)),
    ]
    server = EventPublisher(endpoint, replay, lambda: now, names_topics=True)
    server.start()
    subscriber = Subscriber(endpoint, replay, has_topics=True)
    for topic, name in (("a", 1), ("b", 2), ("a", 3), ("b", 4)):
        server.publish(lambda topic=topic, name=name: [told(topic, block(name))])  # type: ignore[misc]
    server.publish(lambda: [told("a", BlockRemoved([1], "GPU"))])
    subscriber.catch_up()
    subscriber.close()
    server.close()
    assert subscriber.by_topic == {"a": {"GPU": {3}}, "b": {"GPU": {2, 4}}}
    assert subscriber.last == 4


def test_garbage_at_the_replay_endpoint_changes_nothing(tmp_path: Path) -> None:
    with publishing(tmp_path) as (server, subscriber):
        tell(server, 1)
        asking = subscriber.asking()
        for garbage in ((b"",), (b"", b"", b""), (b"", b"short"), (b"x" * 100_000, b"12345678")):
            asking.send_multipart(garbage)
        asking.close(linger=100)
        subscriber.catch_up()
        assert subscriber.held["GPU"] == {1}


@pytest.mark.parametrize("endpoint", ["tcp://*:{}", "tcp://[::1]:{}", "tcp://localhost:{}"])
def test_it_listens_on_addresses_of_this_machine(endpoint: str) -> None:
    with socket.socket() as probe:
        listening = EventPublisher(endpoint.format(port := free_port()), None, list)
        assert probe.connect_ex(("127.0.0.1", port)) == 0 or "[" in endpoint
        listening.close()


def test_it_connects_to_another_host_that_collects_events() -> None:
    """Such a host need not be there yet."""
    connecting = EventPublisher("tcp://collector.invalid:5557", None, list)
    connecting.start()
    tell(connecting, 1)
    connecting.close()


def test_an_address_that_is_taken_stops_the_start() -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"

    def snapshot() -> list[TopicEvents]:
        return []

    first = EventPublisher(endpoint, None, snapshot)
    try:
        with pytest.raises(StartupError, match="in use"):
            EventPublisher(endpoint, None, snapshot)
    finally:
        first.close()
