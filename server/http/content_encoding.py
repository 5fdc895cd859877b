"""Bodies of requests that come compressed."""

from __future__ import annotations

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding
from server.http.turns import LoopTurns

ENCODINGS = ("gzip", "x-gzip", "deflate")
PIECE = 256 * 1024
"""Most bytes that are unpacked at once."""

PIECES_PER_TURN = 4
"""Pieces of all bodies that one turn of the loop unpacks, in some milliseconds: a few bytes may
unpack to megabytes."""

ANY_ZLIB_FORMAT = 32 + zlib.MAX_WBITS
"""zlib's own word for "gzip or zlib, as the header says"."""


class DecodeBody:
    """ASGI middleware: handlers read bodies unpacked, and never more than `max_bytes` of them."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._turns = LoopTurns(PIECES_PER_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        encoding = _encoding(scope)
        if not encoding:
            return await self._app(scope, receive, send)
        if encoding not in ENCODINGS:
            raise UnsupportedEncoding(encoding)
        decoder, turns = _BodyDecoder(encoding, self._max_bytes), self._turns

        async def decoding_receive() -> Message:
            if decoder.is_over:
                return await receive()
            if decoder.is_drained:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                decoder.feed(message.get("body", b""), is_last=not message.get("more_body"))
            await turns.come()
            body = decoder.next_piece()
            return {"type": "http.request", "body": body, "more_body": not decoder.is_over}

        return await self._app(scope, decoding_receive, send)


class _BodyDecoder:
    """Unpacks one body, piece by piece. Raises `InvalidRequest` and `BodyTooLarge`."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._zlib = zlib.decompressobj(ANY_ZLIB_FORMAT)
        self._packed = b""
        self._has_all = False
        self.is_drained = True
        """Whether all that was fed is unpacked."""

    @property
    def is_over(self) -> bool:
        """Whether the whole body is unpacked."""
        return self._has_all and self.is_drained

    def feed(self, data: bytes, *, is_last: bool) -> None:
        """Take the next part of the packed body."""
        self._packed, self._has_all, self.is_drained = data, is_last, False

    def next_piece(self) -> bytes:
        """The next piece of the body."""
        try:
            piece = self._zlib.decompress(self._packed, PIECE)
        except zlib.error as error:
            raise InvalidRequest(f"the body is not valid {self._encoding}: {error}") from None
        self._packed = self._zlib.unconsumed_tail
        self.is_drained = not self._packed and len(piece) < PIECE
        self._left -= len(piece)
        if self._left < 0:
            raise BodyTooLarge(f"the unpacked body is larger than {self._max_bytes} bytes")
        if self._zlib.unused_data:
            raise InvalidRequest(f"the body goes on after its {self._encoding} data ended")
        if self.is_over and not self._zlib.eof:
            raise InvalidRequest(f"the body ends before its {self._encoding} data does")
        return piece


def _encoding(scope: Scope) -> str:
    """The value of Content-Encoding in lower case; "" if the body comes as it is."""
    values = [value for name, value in scope["headers"] if name == b"content-encoding"]
    encoding = b",".join(values).decode("latin-1").strip().lower()
    return "" if encoding == "identity" else encoding
