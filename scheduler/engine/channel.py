"""The engine's end of the socket: commands in, messages out."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable

import msgspec

from protocol.codec import Codec, Frames
from protocol.commands import Command
from protocol.messages import Message
from scheduler.engine.outbox import ChannelClosed, Kept, Outbox, nothing

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 20
"""Bytes that one read of the socket may return."""


class CommandChannel:
    """The engine's end of a socket pair that the API process made.

    Sending never blocks the loop: what the socket doesn't take now waits in a list.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._arrivals = select.poll()
        self._arrivals.register(sock, select.POLLIN)
        self._codec = Codec()
        self._frames = Frames()
        self._outbox = Outbox(sock)

    def receive(self, wait: float) -> list[Command]:
        """All commands that have arrived; waits up to `wait` seconds for the first.

        Messages that are kept for the next step go out before a wait. Raises `ChannelClosed`.
        """
        if wait > 0:
            is_sent = self._outbox.send_all()
            writers = [] if is_sent else [self._socket]
            select.select([self._socket], writers, [], wait)
        commands: list[Command] = []
        while self._arrivals.poll(0):  # most steps find nothing, which an error would tell slower
            try:
                data = self._socket.recv(READ_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                raise ChannelClosed
            commands += self._decoded(data)
        return commands

    def send(self, message: Message) -> None:
        """Write a message, now or as soon as the socket takes it. Raises `ChannelClosed`."""
        self._outbox.keep(message)
        self.flush()

    def flush(self) -> None:
        """Write what is kept, as `send` does. Raises `ChannelClosed`."""
        self._outbox.send_all()

    def keep(self, message: Kept, then: Callable[[], None] = nothing) -> None:
        """Take a message that goes out with the next message, or beside the next computing. Once it
        is written, `then` is called."""
        self._outbox.keep(message, then)

    def send_kept(self) -> None:
        """Let a thread write what is kept, while this one computes."""
        self._outbox.send_beside()

    def close(self) -> None:
        """Write what is left, for up to a second a message, and close the socket."""
        self._outbox.close()
        self._socket.close()

    def _decoded(self, data: bytes) -> list[Command]:
        commands: list[Command] = []
        for frame in self._frames.feed(data):
            try:
                commands.append(self._codec.decode_command(frame))
            except msgspec.MsgspecError as error:
                logger.error("dropped a command that can't be read: %s", error)
        return commands
