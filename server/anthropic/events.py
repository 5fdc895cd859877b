"""The events of a message's stream, before they are framed."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

Event = dict[str, Any]


def new_message_id() -> str:
    """A new id for a message."""
    return f"msg_{secrets.token_hex(12)}"


class BlockEvents:
    """Writes the events of an answer as events about content blocks.

    One block is open at a time. Blocks are numbered in the order in which they open.
    """

    def __init__(self, max_calls: int | None, *, shows_thinking: bool) -> None:
        """Calls beyond `max_calls` are dropped. Thinking that isn't shown has an empty text."""
        self._max_calls = max_calls
        self._shows_thinking = shows_thinking
        self._index = -1
        self._open: str | None = None
        self._num_calls = 0
        self._thinking = hashlib.sha256()
        self.num_thinking_tokens = 0
        """Tokens in which the model was thinking."""

    @property
    def has_called(self) -> bool:
        """Whether the answer calls a tool."""
        return self._num_calls > 0

    def of(self, events: Sequence[AnswerEvent], num_tokens: int) -> Iterator[Event]:
        """The events for more of the answer, which came from `num_tokens` tokens."""
        if events and isinstance(events[0], Reasoning):
            self.num_thinking_tokens += num_tokens
        for event in events:
            yield from self._of(event)

    def close(self) -> Iterator[Event]:
        """The events that end the open block, if there is one."""
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": self._signature()})
        yield {"type": "content_block_stop", "index": self._index}
        self._open = None

    def _of(self, event: AnswerEvent) -> Iterator[Event]:
        match event:
            case Content():
                yield from self._in_block("text", {"text": ""})
                yield self._delta({"type": "text_delta", "text": event.text})
            case Reasoning():
                yield from self._in_block("thinking", {"thinking": "", "signature": ""})
                self._thinking.update(event.text.encode())
                if self._shows_thinking:
                    yield self._delta({"type": "thinking_delta", "thinking": event.text})
            case CallStarted():
                yield from self._start_call(event.name)
            case CallArguments() if self._open == "tool_use":
                yield self._delta({"type": "input_json_delta", "partial_json": event.text})

    def _start_call(self, name: str) -> Iterator[Event]:
        yield from self.close()
        self._num_calls += 1
        if self._max_calls is None or self._num_calls <= self._max_calls:
            call = f"toolu_{secrets.token_hex(12)}"
            yield from self._in_block("tool_use", {"id": call, "name": name, "input": {}})

    def _in_block(self, kind: str, fields: Event) -> Iterator[Event]:
        """The events that make a block of this kind the open one."""
        if self._open == kind:
            return
        yield from self.close()
        self._index += 1
        self._open = kind
        block = {"type": kind, **fields}
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _signature(self) -> str:
        """Clients send it back with the thinking. It tells thinkings apart, and proves nothing."""
        return base64.b64encode(self._thinking.digest()).decode()
