"""Publishes batches of events by ZeroMQ, and repeats them for who has missed some."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import zmq

from server.kv_events.wire import EventBatch, TopicEvents
from server.startup import StartupError

HIGH_WATER = 100_000
"""Messages that wait for a slow subscriber; it loses later ones, and can ask for them."""

MAX_BATCHES = 10_000
MAX_BYTES = 64 << 20
"""Batches that can be asked for again."""

POLL_SECONDS = 0.25
"""How often the thread that answers looks whether it has to end."""

END = (-1).to_bytes(8, "big", signed=True)
"""Takes the place of a sequence number after the last batch of an answer."""

_OWN_ADDRESS = re.compile(
    r"tcp://(\*|0\.0\.0\.0|127\.[0-9.]+|localhost|\[::1?\]):[0-9]+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Sent:
    topic: bytes
    sequence: int
    payload: bytes

    @property
    def number(self) -> bytes:
        return self.sequence.to_bytes(8, "big")


class EventPublisher:
    """A PUB socket with messages of three frames: topic, sequence number, batch.

    A ROUTER socket answers who sends a sequence number with all batches from there on. It answers
    with what holds now where batches of that age are kept no more. All topics are numbered
    together.
    """

    def __init__(
        self,
        endpoint: str,
        replay_endpoint: str | None,
        snapshot: Callable[[], list[TopicEvents]],
        *,
        names_topics: bool = False,
    ) -> None:
        """Take the addresses. Raises `StartupError`.

        `snapshot` has the messages that tell all that holds now. It is called between two batches.
        `names_topics`: answers carry the topic, as published messages do. vLLM's do not.
        """
        self._lock = threading.Lock()
        """Held while a batch is made and published, so that snapshots match batches."""
        self.sequence = -1
        """The number of the last batch; the first is 0."""
        self._snapshot = snapshot
        self._names_topics = names_topics
        self._topics: set[bytes] = set()
        self._encoder = msgspec.msgpack.Encoder()
        self._sent: deque[_Sent] = deque()
        self._num_bytes = 0
        self._context = zmq.Context()
        self._pub = self._context.socket(zmq.PUB)
        self._pub.sndhwm = HIGH_WATER
        self._replay = self._context.socket(zmq.ROUTER)
        self._replay.sndhwm = 2 * MAX_BATCHES
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            _take(self._pub, endpoint)
            if replay_endpoint is not None:
                _take(self._replay, replay_endpoint)
                self._thread = threading.Thread(target=self._answer, name="kv events replay")
        except StartupError:
            self.close()
            raise

    def start(self) -> None:
        """Begin to answer."""
        if self._thread is not None:
            self._thread.start()

    def publish(self, make: Callable[[], Iterable[TopicEvents]]) -> None:
        """Send the messages that `make` returns. It never waits for subscribers."""
        with self._lock:
            for told in make():
                self.sequence += 1
                sent = self._encoded(told, self.sequence)
                self._keep(sent)
                self._pub.send_multipart((sent.topic, sent.number, sent.payload))

    def close(self) -> None:
        """Stop; what subscribers have not taken is lost after a moment."""
        self._is_closing.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._replay.close(linger=0)
        self._pub.close(linger=200)
        self._context.term()

    def _encoded(self, told: TopicEvents, sequence: int) -> _Sent:
        payload = self._encoder.encode(EventBatch(time.time(), told.events))
        return _Sent(told.topic.encode(), sequence, payload)

    def _keep(self, sent: _Sent) -> None:
        """Keep a batch, and so many before it that a snapshot has numbers of its own."""
        self._sent.append(sent)
        self._topics.add(sent.topic)
        self._num_bytes += len(sent.payload)
        least = 2 * len(self._topics) - 1
        while len(self._sent) > max(MAX_BATCHES, least) or (
            self._num_bytes > MAX_BYTES and len(self._sent) > least
        ):
            self._num_bytes -= len(self._sent.popleft().payload)

    # --- in the other thread ---

    def _answer(self) -> None:
        while not self._is_closing.is_set():
            if self._replay.poll(int(POLL_SECONDS * 1000)):
                frames = self._replay.recv_multipart()
                if len(frames) == 3 and len(frames[2]) == 8:
                    self._repeat(frames[0], int.from_bytes(frames[2], "big"))

    def _repeat(self, client: bytes, start: int) -> None:
        """Send a client all batches from number `start` on, and the end."""
        with self._lock:
            batches = [sent for sent in self._sent if sent.sequence >= start]
            if self._sent and start < self._sent[0].sequence:
                batches = self._all()
        for sent in batches:
            self._answer_with(client, sent.topic, sent.number, sent.payload)
        self._answer_with(client, b"", END, b"")

    def _all(self) -> list[_Sent]:
        """What holds now, under the last numbers: subscribers drop what is older than they know."""
        told = self._snapshot()
        first = self.sequence - len(told) + 1
        return [self._encoded(one, number) for number, one in enumerate(told, first)]

    def _answer_with(self, client: bytes, topic: bytes, number: bytes, payload: bytes) -> None:
        names = (topic,) if self._names_topics else ()
        with contextlib.suppress(zmq.ZMQError):  # the client has left
            self._replay.send_multipart((client, b"", *names, number, payload))


def _take(sock: zmq.Socket[bytes], endpoint: str) -> None:
    """Listen on an address of this machine; connect to one of another. Raises `StartupError`."""
    sock.ipv6 = "[" in endpoint
    try:
        if _OWN_ADDRESS.fullmatch(endpoint) or endpoint.startswith("ipc://"):
            sock.bind(endpoint)
        else:
            sock.connect(endpoint)
    except zmq.ZMQError as error:
        raise StartupError(f"KV events can't use {endpoint}: {error.strerror}") from error
