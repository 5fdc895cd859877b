"""Publishes batches of events by ZeroMQ, and repeats them for who has missed some."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import zmq

from server.kv_events.wire import EventBatch, WireEvent
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
    sequence: int
    payload: bytes


class EventPublisher:
    """A PUB socket with messages of three frames: topic, sequence number, batch.

    A ROUTER socket answers who sends a sequence number with all batches from there on. It answers
    with what holds now where batches of that age are kept no more.
    """

    def __init__(
        self, endpoint: str, replay_endpoint: str | None, snapshot: Callable[[], list[WireEvent]]
    ) -> None:
        """Take the addresses. Raises `StartupError`.

        `snapshot` has the events that tell all that holds now. It is called between two batches.
        """
        self._lock = threading.Lock()
        """Held while a batch is made and published, so that snapshots match batches."""
        self.sequence = -1
        """The number of the last batch; the first is 0."""
        self._snapshot = snapshot
        self._topic = b""
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

    def start(self, topic: str) -> None:
        """Begin to publish, and to answer."""
        self._topic = topic.encode()
        if self._thread is not None:
            self._thread.start()

    def publish(self, make: Callable[[], list[WireEvent]]) -> None:
        """Send a batch of the events that `make` returns, if there are any. It never waits for
        subscribers."""
        with self._lock:
            events = make()
            if not events:
                return
            self.sequence += 1
            sent = _Sent(self.sequence, self._encoder.encode(EventBatch(time.time(), events)))
            self._keep(sent)
            number = sent.sequence.to_bytes(8, "big")
            self._pub.send_multipart((self._topic, number, sent.payload))

    def close(self) -> None:
        """Stop; what subscribers have not taken is lost after a moment."""
        self._is_closing.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._replay.close(linger=0)
        self._pub.close(linger=200)
        self._context.term()

    def _keep(self, sent: _Sent) -> None:
        self._sent.append(sent)
        self._num_bytes += len(sent.payload)
        while len(self._sent) > MAX_BATCHES or (
            self._num_bytes > MAX_BYTES and len(self._sent) > 1
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
                payload = self._encoder.encode(EventBatch(time.time(), self._snapshot()))
                batches = [_Sent(self.sequence, payload)]
        for sent in [*batches, None]:
            number = END if sent is None else sent.sequence.to_bytes(8, "big")
            payload = b"" if sent is None else sent.payload
            with contextlib.suppress(zmq.ZMQError):  # the client has left
                self._replay.send_multipart((client, b"", number, payload))


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
