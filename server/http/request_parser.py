"""httptools' request parser without upgrades and without trailers.

Offers to upgrade the connection are ignored (RFC 9110, 7.8), and trailers are dropped (6.5.1).

llhttp stops at the end of a head that offers an upgrade, and takes what follows for bytes of the
other protocol. A body that came in another segment would then be parsed as a second request.
"""

from __future__ import annotations

from typing import Protocol

import httptools

MAX_SMALL_PIECES = 8192
"""Most pieces of a body, besides one for each 64 bytes. A chunk of one byte costs as much time as a
large one, and one read of the socket can hold 40,000 of them."""

OFFER_HEADERS = frozenset((b"upgrade", b"http2-settings"))


class Callbacks(Protocol):
    """What httptools calls; uvicorn's protocol implements these."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class RequestParser:
    """Parses requests as if their heads offered no upgrade and their bodies had no trailers.

    A head with an offer is parsed a second time without the offer, and the body follows that head.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._parser = self._new_parser()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._has_offer = False
        self._is_in_head = True
        self._pieces_left = 0.0

    def feed_data(self, data: bytes) -> None:
        """Parse the next bytes. Raises `httptools.HttpParserError`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._has_offer:  # CONNECT, which is none of ours
                raise
            head, body = self._head_without_offer(), data[upgrade.args[0] :]
            self._parser = self._new_parser()
            self.feed_data(head + body)

    def get_http_version(self) -> str:
        """Such as `1.1`."""
        return self._parser.get_http_version()

    def get_method(self) -> bytes:
        """Such as `POST`."""
        return self._parser.get_method()

    def should_keep_alive(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._parser.should_keep_alive()

    def should_upgrade(self) -> bool:
        """Never."""
        return False

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []
        self._has_offer, self._is_in_head = False, True
        self._pieces_left = float(MAX_SMALL_PIECES)
        self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return
        self._headers.append((name, value))
        self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        has_upgrade = any(name.lower() == b"upgrade" for name, _ in self._headers)
        self._has_offer = has_upgrade and self._parser.should_upgrade()
        if not self._has_offer:
            self._url, self._headers = b"", []  # an idle connection needs no second copy
            self._callbacks.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pieces_left += len(body) / 64 - 1
        if self._pieces_left < 0:
            raise ValueError("the body comes in too many small chunks")
        self._callbacks.on_body(body)

    def on_message_complete(self) -> None:
        if not self._has_offer:
            self._callbacks.on_message_complete()

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        return parser

    def _head_without_offer(self) -> bytes:
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, version)]
        for name, value in self._headers:
            if name.lower() == b"connection":
                value = _without_offer(value)
            if name.lower() not in OFFER_HEADERS and not (
                name.lower() == b"connection" and not value
            ):
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _without_offer(connection: bytes) -> bytes:
    """The options of a Connection header that are not about the upgrade."""
    options = [option.strip() for option in connection.split(b",")]
    return b", ".join(option for option in options if option.lower() not in OFFER_HEADERS)
