"""An incremental decoder of server-sent events: bytes in, cut anywhere; payloads of `data:` out."""

from __future__ import annotations


class SSEDecoder:
    """Assembles the `data` of each event; comments and other fields are dropped.

    Lines end in LF or CRLF. A bare CR is not a line end; no server here sends one.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the payloads of the events that `chunk` completes, in order."""
        lines = (self._tail + chunk).split(b"\n")
        self._tail = lines.pop()
        events: list[bytes] = []
        for line in lines:
            payload = self._line(line.removesuffix(b"\r"))
            if payload is not None:
                events.append(payload)
        return events

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            return self._dispatch()
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        return None

    def _dispatch(self) -> bytes | None:
        if not self._data:
            return None
        payload = b"\n".join(self._data)
        self._data.clear()
        return payload
