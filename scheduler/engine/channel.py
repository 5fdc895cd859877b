"""The engine's end of the socket: commands in, messages out."""

from __future__ import annotations

import logging
import select
import socket
from collections import deque

import msgspec

from protocol.codec import Codec, Frames
from protocol.commands import Command
from protocol.messages import Message

logger = logging.getLogger(__name__)

READ_SIZE = 1 << 20
"""Bytes that one read of the socket may return."""


class ChannelClosed(Exception):
    """The API process is gone."""


class CommandChannel:
    """The engine's end of a socket pair that the API process made.

    Sending never blocks the loop: what the socket doesn't take now waits in a list.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._codec = Codec()
        self._frames = Frames()
        self._outbox: deque[memoryview] = deque()

    def receive(self, wait: float) -> list[Command]:
        """All commands that have arrived; waits up to `wait` seconds for the first.

        Raises `ChannelClosed`.
        """
        self._flush()
        if wait > 0:
            writers = [self._socket] if self._outbox else []
            select.select([self._socket], writers, [], wait)
        commands: list[Command] = []
        while True:
            try:
                data = self._socket.recv(READ_SIZE)
            except BlockingIOError:
                return commands
            except ConnectionError:
                data = b""
            if not data:
                raise ChannelClosed
            commands += self._decoded(data)

    def send(self, message: Message) -> None:
        """Write a message, now or as soon as the socket takes it. Raises `ChannelClosed`."""
        self._outbox.append(memoryview(self._codec.frame(message)))
        self._flush()

    def close(self) -> None:
        """Write what is left, for up to a second a message, and close the socket."""
        self._socket.settimeout(1.0)
        try:
            while self._outbox:
                self._socket.sendall(self._outbox.popleft())
        except OSError:
            pass
        self._socket.close()

    def _decoded(self, data: bytes) -> list[Command]:
        commands: list[Command] = []
        for frame in self._frames.feed(data):
            try:
                commands.append(self._codec.decode_command(frame))
            except msgspec.MsgspecError as error:
                logger.error("dropped a command that can't be read: %s", error)
        return commands

    def _flush(self) -> None:
        while self._outbox:
            try:
                sent = self._socket.send(self._outbox[0])
            except BlockingIOError:
                return
            except ConnectionError:
                raise ChannelClosed from None
            if sent < len(self._outbox[0]):
                self._outbox[0] = self._outbox[0][sent:]
                return
            self._outbox.popleft()
