"""Encodes commands and messages as frames: a length, then msgpack."""

from __future__ import annotations

import struct

import msgspec

from protocol.commands import Command
from protocol.messages import Message

LENGTH = struct.Struct("<I")
"""The head of each frame: the number of bytes that follow it, little-endian."""


class Codec:
    """Encodes and decodes both directions."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
        self._messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def frame(self, item: Command | Message) -> bytearray:
        """The frame of one command or message."""
        buffer = bytearray(LENGTH.size)
        self._encoder.encode_into(item, buffer, LENGTH.size)
        LENGTH.pack_into(buffer, 0, len(buffer) - LENGTH.size)
        return buffer

    def decode_command(self, data: bytes) -> Command:
        """The command in a frame without its head. Raises `msgspec.MsgspecError`."""
        return self._commands.decode(data)

    def decode_message(self, data: bytes) -> Message:
        """The message in a frame without its head. Raises `msgspec.MsgspecError`."""
        return self._messages.decode(data)


class Frames:
    """Cuts the bytes that a socket delivers into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes. Returns the frames that are complete now, without their heads."""
        self._buffer += data
        messages: list[bytes] = []
        start = 0
        while len(self._buffer) >= start + LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, start)
            end = start + LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(bytes(self._buffer[start + LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages
