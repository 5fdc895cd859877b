"""The engine's end of the socket: commands in, messages out, over ZeroMQ on a local address."""

from __future__ import annotations

import logging

import msgspec
import zmq

from scheduler.protocol import Codec, Command, Message

logger = logging.getLogger(__name__)


class CommandChannel:
    """A connection to the API process at `endpoint` (ipc://...).

    ZeroMQ's own thread does the writing, so `send` costs the loop a copy and no system call wait.
    """

    def __init__(self, endpoint: str) -> None:
        self._codec = Codec()
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        self._socket.set_hwm(0)  # the API process bounds what is in flight, not the socket
        self._socket.connect(endpoint)

    def receive(self, wait: float) -> list[Command]:
        """Everything that has arrived; waits up to `wait` seconds for the first."""
        if wait > 0 and not self._socket.poll(int(wait * 1000)):
            return []
        commands: list[Command] = []
        while True:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return commands
            try:
                commands.append(self._codec.decode_command(data))
            except msgspec.MsgspecError as error:
                logger.error("dropped a command that can't be read: %s", error)

    def send(self, message: Message) -> None:
        """Hand a message over for writing."""
        self._socket.send(self._codec.encode(message), copy=True)

    def close(self) -> None:
        """Write what is left, for at most a second, and close."""
        self._socket.close(linger=1000)
        self._context.term()
