"""The two shapes of an answer: in one piece, and streamed. A dialect writes one class for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from server.errors import ApiError
from server.generation.types import Ended, Progress, PromptScores, TextDelta
from server.http import sse


class WholeAnswer(ABC):
    """Collects what the sequences of one request yield. `index` is the number of the sequence.

    Methods are called one after another, some in threads.
    """

    @abstractmethod
    def add(self, index: int, delta: TextDelta) -> None:
        """Keep more text of a sequence."""

    def scored(self, index: int, scores: PromptScores) -> None:
        """Keep log-probabilities of a sequence's prompt, for dialects that ask for them."""
        raise NotImplementedError

    @abstractmethod
    def end(self, index: int, ended: Ended) -> None:
        """Note that a sequence has ended."""

    @abstractmethod
    def body(self) -> Any:
        """The JSON value of the response, once every sequence has ended."""


class StreamedAnswer(ABC):
    """Writes what the sequences of one request yield as framed bytes, ready to send.

    Each method may return one frame, several frames, or `b""` to send nothing. The defaults write
    server-sent events.
    """

    media_type = "text/event-stream"
    ping = sse.PING
    """Sent while the stream is silent; `b""` sends nothing."""

    def start(self) -> bytes:
        """The frames before anything is generated."""
        return b""

    @abstractmethod
    def delta(self, index: int, delta: TextDelta) -> bytes:
        """The frames for more text of a sequence. This is the hot path: one call a token."""

    def progress(self, index: int, progress: Progress) -> bytes:
        """The frames for a part of a prompt that was computed."""
        return b""

    def scored(self, index: int, scores: PromptScores) -> bytes:
        """The frames for log-probabilities of a sequence's prompt."""
        return b""

    @abstractmethod
    def end(self, index: int, ended: Ended) -> bytes:
        """The frames that end a sequence."""

    def finish(self) -> bytes:
        """The frames after every sequence has ended."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """The frame that ends a stream which failed after its first byte."""
        return sse.frame(error.body())
