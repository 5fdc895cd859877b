"""Messages on their way to the API process: written at once, or by a thread beside a step."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from protocol.codec import Codec
from protocol.messages import Message

END = -1

Kept = Message | Callable[[], Message]
"""A message, or how to make it."""


def nothing() -> None:
    """Do nothing."""


class ChannelClosed(Exception):
    """The API process is gone."""


class Outbox:
    """Writes messages to a socket in their order.

    Making a message, encoding it, writing it, and what the system does for the process that it
    wakes take half a millisecond where cores are scarce. So the events of a step are kept until
    the next step computes, which needs no interpreter. Then a thread writes them.
    """

    def __init__(self, sock: socket.socket) -> None:
        """`sock` does not block."""
        self._socket = sock
        self._codec = Codec()
        self._kept: deque[tuple[Kept, Callable[[], None]]] = deque()
        self._num_kept = self._num_encoded = 0
        """Messages so far."""
        self._unsent: deque[memoryview] = deque()
        """Frames that the socket has not taken."""
        self._lock = threading.Lock()
        self._occasions: SimpleQueue[int] = SimpleQueue()
        """For each time that the thread shall write: up to which message; `END` at the end."""
        self._thread = threading.Thread(target=self._serve, name="outbox", daemon=True)
        self._thread.start()

    def keep(self, message: Kept, then: Callable[[], None] = nothing) -> None:
        """Add a message, which is not made or written yet. Afterwards `then` is called."""
        self._num_kept += 1
        self._kept.append((message, then))

    def send_beside(self) -> None:
        """Let the thread write what is kept, as soon as this thread leaves the interpreter."""
        if self._kept:
            self._occasions.put(self._num_kept)

    def send_all(self) -> bool:
        """Write everything; returns whether the socket took it. Raises `ChannelClosed`."""
        return self._send(self._num_kept)

    def _send(self, last: int) -> bool:
        """Write the messages up to this one. A thread that comes late may find more, which are
        not for it to make."""
        with self._lock:
            while self._num_encoded < last:
                then = self._encode()
                self._write()
                then()
            return self._write()

    def _write(self) -> bool:
        """Write frames up to where the socket takes no more; returns whether all are written."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:
                raise ChannelClosed from None
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                return False
            self._unsent.popleft()
        return True

    def close(self) -> None:
        """Write what is left, for up to a second a message, and end the thread."""
        self._occasions.put(END)
        self._thread.join()
        self._socket.settimeout(1.0)
        while self._num_encoded < self._num_kept:
            self._encode()()
        with contextlib.suppress(OSError):
            while self._unsent:
                self._socket.sendall(self._unsent.popleft())

    def _encode(self) -> Callable[[], None]:
        """Encode the next message; returns what is to be called once it is written."""
        kept, then = self._kept.popleft()
        self._num_encoded += 1
        message = kept() if callable(kept) else kept
        self._unsent.append(memoryview(self._codec.frame(message)))
        return then

    def _serve(self) -> None:
        """The thread. A closed socket is noticed by the next `receive`."""
        has_priority = False
        while (last := self._occasions.get()) != END:
            if not has_priority:
                _take_priority_of_main_thread()
                has_priority = True
            with contextlib.suppress(ChannelClosed):
                self._send(last)


def _take_priority_of_main_thread() -> None:
    """A thread of lower priority would stop the engine's while it holds the interpreter's lock.

    The thread starts before the priority is set, and before the main thread moves to a CPU of its
    own, on which it must stay alone.
    """
    with contextlib.suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, 0, nice)
