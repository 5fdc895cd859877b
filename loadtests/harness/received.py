"""Turns the bytes of a streamed answer and their arrival times into a record. Pure."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.harness.scenario import Record, Request
from loadtests.harness.sse import SSEDecoder
from loadtests.harness.wire import DECODERS, Chunk


class Reception:
    """One answer that is being received.

    `on_first` is called once: at the first token, or at the end if no token came.
    """

    def __init__(
        self, request: Request, started: float, on_first: Callable[[], None] | None = None
    ) -> None:
        self.record = Record(request.role, started, request.exact_tokens, request.prompt)
        self._final = False
        self._events = SSEDecoder()
        self._decode = DECODERS[request.dialect]
        self._on_first = on_first

    def take(self, data: bytes, now: float) -> None:
        """Record body bytes that came at `now`. Raises msgspec.DecodeError if the bytes are
        malformed."""
        for payload in self._events.feed(data):
            self._note(self._decode(payload), now)

    def end(self, now: float) -> Record:
        """Return the record, with an `error` if anything is missing."""
        self.record.finished = now
        self._first()
        self.record.error = self.record.error or self._missing()
        return self.record

    def _note(self, chunk: Chunk, now: float) -> None:
        record = self.record
        if chunk.pieces:
            record.arrivals.append(now)
            record.pieces.append(chunk.pieces)
            record.tokens.extend(chunk.tokens)
            record.text.append(chunk.text)
            self._first()
        if chunk.predicted is not None:
            record.predicted = chunk.predicted
            record.prompt = chunk.prompt or 0
            record.computed = chunk.computed
        record.reason = chunk.reason or record.reason
        record.error = chunk.error or record.error
        self._final = self._final or chunk.final

    def _first(self) -> None:
        callback, self._on_first = self._on_first, None
        if callback:
            callback()

    def _missing(self) -> str:
        record = self.record
        if not self._final:
            return "the stream ended without its last chunk"
        if record.exact_tokens is not None and record.predicted != record.exact_tokens:
            return f"{record.predicted} tokens instead of {record.exact_tokens} ({record.reason})"
        if not record.arrivals:
            return "the answer is empty"
        return ""
