"""Commands and messages as frames: a length, then msgpack."""

from __future__ import annotations

import struct

import msgspec

from protocol.commands import Command
from protocol.messages import Message

LENGTH = struct.Struct("<I")
"""What stands before every message on the socket."""


class Codec:
    """Both directions as frames: four bytes of length, little-endian, then msgpack."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
        self._messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)

    def frame(self, item: Command | Message) -> bytearray:
        """One message as it goes over the socket."""
        buffer = bytearray(LENGTH.size)
        self._encoder.encode_into(item, buffer, LENGTH.size)
        LENGTH.pack_into(buffer, 0, len(buffer) - LENGTH.size)
        return buffer

    def decode_command(self, data: bytes) -> Command:
        """Read what the API process sent. Raises `msgspec.MsgspecError`."""
        return self._commands.decode(data)

    def decode_message(self, data: bytes) -> Message:
        """Read what the engine sent. Raises `msgspec.MsgspecError`."""
        return self._messages.decode(data)


class Frames:
    """Cuts what a socket delivers into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was received; returns the messages that are complete now."""
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
