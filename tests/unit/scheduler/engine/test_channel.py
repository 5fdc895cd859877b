"""The engine's end of the socket: what is kept goes out in order, beside a step or at a wait."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from protocol.codec import Codec, Frames
from protocol.messages import Heartbeat
from scheduler.engine.channel import CommandChannel
from scheduler.engine.outbox import ChannelClosed

Ends = tuple[CommandChannel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(20.0)
    channel = CommandChannel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def read(sock: socket.socket, count: int) -> list[float]:
    """The times of the next `count` heartbeats."""
    codec, frames, times = Codec(), Frames(), list[float]()
    while len(times) < count:
        for frame in frames.feed(sock.recv(1 << 16)):
            message = codec.decode_message(frame)
            assert isinstance(message, Heartbeat)
            times.append(message.time)
    return times


def has_arrived(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(20.0)


def test_what_is_kept_waits(ends: Ends) -> None:
    channel, theirs = ends
    channel.keep(Heartbeat(1.0))
    assert channel.receive(0.0) == []
    assert not has_arrived(theirs)


def test_what_is_kept_goes_out_beside_the_next_computing(ends: Ends) -> None:
    channel, theirs = ends
    for time in (1.0, 2.0, 3.0):
        channel.keep(Heartbeat(time))
        channel.send_kept()
        assert read(theirs, 1) == [time]


def test_what_is_kept_may_be_made_when_it_goes_out(ends: Ends) -> None:
    channel, theirs = ends
    made_in: list[int] = []

    def make(time: float) -> Heartbeat:
        made_in.append(threading.get_ident())
        return Heartbeat(time)

    channel.keep(partial(make, 1.0))
    assert not made_in
    channel.send_kept()
    assert read(theirs, 1) == [1.0]
    channel.keep(partial(make, 2.0))
    channel.flush()
    assert read(theirs, 1) == [2.0]
    here = threading.get_ident()
    assert [ident == here for ident in made_in] == [False, True]


def test_what_comes_after_a_message_waits_until_it_is_written(ends: Ends) -> None:
    channel, theirs = ends
    seen: list[bool] = []
    for time in (1.0, 2.0):
        channel.keep(Heartbeat(time), lambda: seen.append(has_arrived(theirs)))
        assert len(seen) == time - 1
        channel.flush()
        assert seen == [True] * int(time)
        assert read(theirs, 1) == [time]


def test_a_thread_that_comes_late_makes_nothing_that_was_kept_since(ends: Ends) -> None:
    channel, theirs = ends
    outbox = channel._outbox
    may_write = threading.Event()
    gate = Heartbeat(1.0)

    def wait_first() -> Heartbeat:
        assert may_write.wait(20)
        return gate

    channel.keep(wait_first)
    channel.send_kept()
    channel.keep(lambda: pytest.fail("made by a thread that should not"))
    may_write.set()
    assert read(theirs, 1) == [1.0]
    outbox._occasions.put(1)
    assert not has_arrived(theirs)
    outbox._kept.pop()
    outbox._num_kept -= 1


def test_what_is_kept_goes_out_before_a_wait(ends: Ends) -> None:
    channel, theirs = ends
    channel.keep(Heartbeat(1.0))
    channel.receive(0.001)
    assert read(theirs, 1) == [1.0]


def test_what_is_kept_goes_out_before_what_is_sent(ends: Ends) -> None:
    channel, theirs = ends
    channel.keep(Heartbeat(1.0))
    channel.send(Heartbeat(2.0))
    channel.keep(Heartbeat(3.0))
    channel.flush()
    assert read(theirs, 3) == [1.0, 2.0, 3.0]


def test_order_holds_while_the_thread_writes(ends: Ends) -> None:
    channel, theirs = ends
    times = [float(time) for time in range(100)]
    for time in times:
        channel.keep(Heartbeat(time))
        if time % 3 == 0:
            channel.send_kept()
        elif time % 5 == 0:
            channel.flush()
    channel.flush()
    assert read(theirs, len(times)) == times


def test_what_a_full_socket_refused_goes_out_later(ends: Ends) -> None:
    channel, theirs = ends
    count = 50_000  # more than a socket takes
    for number in range(count):
        channel.send(Heartbeat(float(number)))
    for _ in range(count):
        channel.receive(0.0001)
        if has_arrived(theirs):
            break
    seen = 0
    codec, frames = Codec(), Frames()
    while seen < count:
        for frame in frames.feed(theirs.recv(1 << 20)):
            message = codec.decode_message(frame)
            assert isinstance(message, Heartbeat)
            assert message.time == seen
            seen += 1
        if seen < count:
            channel.receive(0.0001)


def test_closing_writes_what_is_kept() -> None:
    ours, theirs = socket.socketpair()
    channel = CommandChannel(ours)
    channel.keep(Heartbeat(1.0))
    channel.close()
    assert read(theirs, 1) == [1.0]
    assert theirs.recv(1) == b""
    theirs.close()


def test_a_closed_socket_is_noticed(ends: Ends) -> None:
    channel, theirs = ends
    theirs.close()
    channel.keep(Heartbeat(1.0))
    channel.send_kept()  # its thread must survive this
    with pytest.raises(ChannelClosed):
        channel.send(Heartbeat(2.0))
    with pytest.raises(ChannelClosed):
        channel.receive(0.0)
