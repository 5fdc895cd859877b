"""Bodies of requests that come compressed."""

from __future__ import annotations

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding

ENCODINGS = ("gzip", "x-gzip", "deflate")
ANY_ZLIB_FORMAT = 32 + zlib.MAX_WBITS
"""zlib's own word for "gzip or zlib, as the header says"."""


class DecodeBody:
    """ASGI middleware: handlers read bodies unpacked, and never more than `max_bytes` of them."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        encoding = _encoding(scope)
        if not encoding:
            return await self._app(scope, receive, send)
        if encoding not in ENCODINGS:
            raise UnsupportedEncoding(encoding)
        decoder = _BodyDecoder(encoding, self._max_bytes)

        async def decoding_receive() -> Message:
            message = await receive()
            if message["type"] != "http.request" or decoder.is_over:
                return message
            body = decoder.feed(message.get("body", b""), is_last=not message.get("more_body"))
            return {**message, "body": body}

        return await self._app(scope, decoding_receive, send)


class _BodyDecoder:
    """Unpacks one body. Raises `InvalidRequest` and `BodyTooLarge`."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._zlib = zlib.decompressobj(ANY_ZLIB_FORMAT)
        self.is_over = False

    def feed(self, data: bytes, *, is_last: bool) -> bytes:
        """The next part of the body, unpacked."""
        self.is_over = is_last
        try:
            body = self._zlib.decompress(data, self._left + 1)
        except zlib.error as error:
            raise InvalidRequest(f"the body is not valid {self._encoding}: {error}") from None
        self._left -= len(body)
        if self._left < 0:
            raise BodyTooLarge(f"the unpacked body is larger than {self._max_bytes} bytes")
        if self._zlib.unused_data:
            raise InvalidRequest(f"the body goes on after its {self._encoding} data ended")
        if is_last and not self._zlib.eof:
            raise InvalidRequest(f"the body ends before its {self._encoding} data does")
        return body


def _encoding(scope: Scope) -> str:
    """The value of Content-Encoding in lower case; "" if the body comes as it is."""
    values = [value for name, value in scope["headers"] if name == b"content-encoding"]
    encoding = b",".join(values).decode("latin-1").strip().lower()
    return "" if encoding == "identity" else encoding
