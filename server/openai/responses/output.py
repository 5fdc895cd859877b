"""The items of an answer, and the events that tell how they grow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from server.openai.responses.conversation import OwnName, seal
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How items are written."""

    names: Mapping[str, OwnName]
    """Functions by the names that the model knows."""
    max_calls: int | None
    is_summary: bool
    """Whether thinking is a summary, or content of its own."""
    is_sealed: bool
    """Whether thinking comes as `encrypted_content` too."""


class Output:
    """Writes the events of an answer as events about items, and collects the items.

    One item is open at a time.
    """

    def __init__(self, options: OutputOptions) -> None:
        self._options = options
        self.items: list[dict[str, Any]] = []
        self._is_open = False
        self._pieces: list[str] = []
        """The text of the open item."""
        self._logprobs: list[msgspec.Raw] = []
        self._num_calls = 0
        self.num_reasoning_tokens = 0
        """Tokens in which the model was thinking."""

    def of(
        self, events: Sequence[AnswerEvent], num_tokens: int, logprobs: list[msgspec.Raw]
    ) -> Iterator[Event]:
        """The events for more of the answer.

        It came from `num_tokens` tokens; `logprobs` are those of its content, as JSON.
        """
        if events and isinstance(events[0], Reasoning):
            self.num_reasoning_tokens += num_tokens
        for event in events:
            yield from self._of(event, logprobs)
            if isinstance(event, Content):
                logprobs = []

    def close(self, status: str = "completed") -> Iterator[Event]:
        """The events that end the open item, if there is one."""
        if not self._is_open:
            return
        self._is_open = False
        item, text = self.items[-1], "".join(self._pieces)
        yield from self._done(item, text)
        if "status" in item:
            item["status"] = status
        self._pieces, self._logprobs = [], []
        yield self._about("response.output_item.done", item=item)

    def _of(self, event: AnswerEvent, logprobs: list[msgspec.Raw]) -> Iterator[Event]:
        match event:
            case Content():
                yield from self._in_item("message", role="assistant", content=[])
                self._logprobs += logprobs
                yield self._delta("output_text", event.text, content_index=0, logprobs=logprobs)
            case Reasoning():
                yield from self._in_item("reasoning", summary=[], content=[])
                if self._options.is_summary:
                    yield self._delta("reasoning_summary_text", event.text, summary_index=0)
                else:
                    yield self._delta("reasoning_text", event.text, content_index=0)
            case CallStarted():
                yield from self._start_call(event.name)
            case CallArguments() if self._kind == "function_call":
                yield self._delta("function_call_arguments", event.text)

    @property
    def _kind(self) -> str | None:
        kind: str = self.items[-1]["type"] if self._is_open else ""
        return kind or None

    def _start_call(self, name: str) -> Iterator[Event]:
        yield from self.close()
        self._num_calls += 1
        if self._options.max_calls is not None and self._num_calls > self._options.max_calls:
            return
        own = self._options.names.get(name, OwnName(name))
        space = {} if own.namespace is None else {"namespace": own.namespace}
        call = f"call_{secrets.token_hex(12)}"
        fields = {"call_id": call, "name": own.name, **space, "arguments": ""}
        yield from self._in_item("function_call", **fields)

    def _in_item(self, kind: str, **fields: Any) -> Iterator[Event]:
        """The events that make an item of this kind the open one."""
        if self._kind == kind:
            return
        yield from self.close()
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        item = {"id": f"{prefix}_{secrets.token_hex(16)}", "type": kind, **fields}
        if kind != "reasoning":
            item["status"] = "in_progress"
        self.items.append(item)
        self._is_open = True
        added = {name: [] if isinstance(value, list) else value for name, value in item.items()}
        yield self._about("response.output_item.added", item=added)
        if kind == "message":
            yield self._about("response.content_part.added", content_index=0, part=_text("", []))
        elif kind == "reasoning" and self._options.is_summary:
            part = {"type": "summary_text", "text": ""}
            yield self._about("response.reasoning_summary_part.added", summary_index=0, part=part)
        elif kind == "reasoning":
            part = {"type": "reasoning_text", "text": ""}
            yield self._about("response.content_part.added", content_index=0, part=part)

    def _done(self, item: dict[str, Any], text: str) -> Iterator[Event]:
        """Complete the item, and the events about its parts."""
        match item["type"]:
            case "message":
                part = _text(text, self._logprobs)
                item["content"] = [part]
                at = {"content_index": 0}
                yield self._about(
                    "response.output_text.done", **at, text=text, logprobs=self._logprobs
                )
                yield self._about("response.content_part.done", **at, part=part)
            case "reasoning":
                yield from self._reasoning_done(item, text)
            case "function_call":
                item["arguments"] = text
                kind = "response.function_call_arguments.done"
                yield self._about(kind, name=item["name"], arguments=text)

    def _reasoning_done(self, item: dict[str, Any], text: str) -> Iterator[Event]:
        if self._options.is_sealed:
            item["encrypted_content"] = seal(text)
        if self._options.is_summary:
            part = {"type": "summary_text", "text": text}
            item["summary"] = [part]
            at = {"summary_index": 0}
            yield self._about("response.reasoning_summary_text.done", **at, text=text)
            yield self._about("response.reasoning_summary_part.done", **at, part=part)
        else:
            part = {"type": "reasoning_text", "text": text}
            item["content"] = [part]
            yield self._about("response.reasoning_text.done", content_index=0, text=text)
            yield self._about("response.content_part.done", content_index=0, part=part)

    def _delta(self, kind: str, text: str, **fields: Any) -> Event:
        self._pieces.append(text)
        return self._about(f"response.{kind}.delta", delta=text, **fields)

    def _about(self, kind: str, **fields: Any) -> Event:
        """An event about the open item. Events that hold the item don't name its id."""
        own = {} if "item" in fields else {"item_id": self.items[-1]["id"]}
        return {"type": kind, **own, "output_index": len(self.items) - 1, **fields}


def _text(text: str, logprobs: list[msgspec.Raw]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
