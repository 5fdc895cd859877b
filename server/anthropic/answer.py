"""The answer to a message: in one piece, or as a stream of events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pydantic_core

from server.answers.shape import StreamedAnswer, WholeAnswer
from server.anthropic.errors import error_body
from server.anthropic.events import BlockEvents, Event, new_message_id
from server.anthropic.usage import input_usage, output_usage, stop_fields
from server.errors import ApiError
from server.generation.types import Ended, Progress, TextDelta
from server.http.json_response import encode_json


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """What a message's answer depends on, besides what the model writes."""

    model: str
    num_prompt: int
    """Tokens of the prompt."""
    marks_cache: bool
    max_calls: int | None
    shows_thinking: bool

    def blocks(self) -> BlockEvents:
        """A writer of the blocks' events."""
        return BlockEvents(self.max_calls, shows_thinking=self.shows_thinking)

    def start(self, num_cached: int) -> Event:
        """The message before its first block."""
        return {
            "id": new_message_id(),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**self.input_usage(num_cached), "output_tokens": 0},
        }

    def input_usage(self, num_cached: int) -> dict[str, int]:
        """The counts of the prompt."""
        return input_usage(self.num_prompt, num_cached, marks_cache=self.marks_cache)

    def usage(self, ended: Ended, num_thinking: int) -> dict[str, Any]:
        """All counts."""
        timings = ended.timings
        return {
            **self.input_usage(timings.cache_n),
            **output_usage(timings.predicted_n, num_thinking),
        }


class WholeMessage(WholeAnswer):
    """Collects the message. Its blocks are what a client makes of the stream."""

    def __init__(self, options: MessageOptions) -> None:
        self._options = options
        self._events = options.blocks()
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        """The text of the open block."""
        self._end: dict[str, Any] = {}

    def add(self, index: int, delta: TextDelta) -> None:
        self._collect(self._events.of(delta.events, len(delta.tokens)))

    def end(self, index: int, ended: Ended) -> None:
        self._collect(self._events.close())
        usage = self._options.usage(ended, self._events.num_thinking_tokens)
        self._end = {**stop_fields(ended, called=self._events.has_called), "usage": usage}

    def body(self) -> dict[str, Any]:
        return {**self._options.start(0), "content": self._blocks, **self._end}

    def _collect(self, events: Iterable[Event]) -> None:
        for event in events:
            match event["type"]:
                case "content_block_start":
                    self._blocks.append(event["content_block"])
                case "content_block_delta":
                    self._add(event["delta"])
                case "content_block_stop":
                    self._finish(self._blocks[-1], "".join(self._pieces))
                    self._pieces = []

    def _add(self, delta: Event) -> None:
        if delta["type"] == "signature_delta":
            self._blocks[-1]["signature"] = delta["signature"]
        else:
            self._pieces.append(delta.get("text") or delta.get("thinking") or delta["partial_json"])

    def _finish(self, block: dict[str, Any], text: str) -> None:
        if block["type"] != "tool_use":
            block[block["type"]] = text
        elif text:
            # A limit may have cut the arguments; clients read what is there in the same way.
            block["input"] = pydantic_core.from_json(text, allow_partial=True)


class MessageStream(StreamedAnswer):
    """Writes the message's events."""

    ping = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, options: MessageOptions) -> None:
        self._options = options
        self._events = options.blocks()
        self._has_started = False

    def progress(self, index: int, progress: Progress) -> bytes:
        return self._start(progress.cache)

    def delta(self, index: int, delta: TextDelta) -> bytes:
        start = self._start(delta.timings.cache_n)
        return start + _frames(self._events.of(delta.events, len(delta.tokens)))

    def end(self, index: int, ended: Ended) -> bytes:
        start = self._start(ended.timings.cache_n)
        last: Event = {
            "type": "message_delta",
            "delta": stop_fields(ended, called=self._events.has_called),
            "usage": self._options.usage(ended, self._events.num_thinking_tokens),
        }
        return start + _frames([*self._events.close(), last, {"type": "message_stop"}])

    def error(self, error: ApiError) -> bytes:
        return _frames([error_body(error)])

    def _start(self, num_cached: int) -> bytes:
        """The first event, once it is known how much of the prompt was cached."""
        if self._has_started:
            return b""
        self._has_started = True
        return _frames([{"type": "message_start", "message": self._options.start(num_cached)}])


def _frames(events: Iterable[Event]) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encode_json(event))
        for event in events
    )
