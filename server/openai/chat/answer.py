"""One choice of a chat completion, from its deltas to its JSON."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.chat.logprobs import chat_logprobs
from server.chat.options import AnswerOptions
from server.generation.types import Ended, PromptScores, TextDelta
from server.http.json_response import encoded_each
from server.model.tokenizer import Tokenizer
from server.openai.finish import finish_reason
from server.parsers.events import (
    AnswerEvent,
    CallArguments,
    CallStarted,
    Content,
    Reasoning,
)

Delta = dict[str, Any]


def new_call_id() -> str:
    """A new id for a tool call, in OpenAI's form."""
    return f"call_{secrets.token_hex(12)}"


class DeltaShaper:
    """Writes the events of an answer as OpenAI's deltas."""

    def __init__(self, max_calls: int | None) -> None:
        """Calls beyond `max_calls` are dropped."""
        self._max_calls = max_calls
        self._calls = 0
        self.num_reasoning_tokens = 0
        """Tokens in which the model was thinking."""

    @property
    def has_called(self) -> bool:
        """Whether the answer calls a tool."""
        return self._calls > 0

    def deltas(self, events: Sequence[AnswerEvent], num_tokens: int) -> list[Delta]:
        """One delta for each event that the client should see.

        `num_tokens` is the number of tokens that the events came from.
        """
        if events and type(events[0]) is Reasoning:
            self.num_reasoning_tokens += num_tokens
        return [delta for event in events if (delta := self._delta(event)) is not None]

    def _delta(self, event: AnswerEvent) -> Delta | None:
        match event:
            case Content():
                return {"content": event.text}
            case Reasoning():
                return {"reasoning_content": event.text}
            case CallStarted():
                self._calls += 1
        if self._max_calls is not None and self._calls > self._max_calls:
            return None
        return {"tool_calls": [_call_delta(self._calls - 1, event)]}


def _call_delta(index: int, event: CallStarted | CallArguments) -> Delta:
    if isinstance(event, CallArguments):
        return {"index": index, "function": {"arguments": event.text}}
    function = {"name": event.name, "arguments": ""}
    return {"index": index, "id": new_call_id(), "type": "function", "function": function}


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


class ChatMessage:
    """Collects a choice for an answer in one piece."""

    def __init__(self, index: int, tokenizer: Tokenizer, options: AnswerOptions) -> None:
        self._index = index
        self._tokenizer = tokenizer
        self._options = options
        self._shaper = DeltaShaper(options.max_calls)
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[_Call] = []
        self._logprobs: list[msgspec.Raw] = []
        self._tokens: list[int] = []

    @property
    def num_reasoning_tokens(self) -> int:
        """Tokens in which the model was thinking."""
        return self._shaper.num_reasoning_tokens

    def add(self, delta: TextDelta) -> None:
        """More text of the answer."""
        self._collect(delta.events, len(delta.tokens))
        if self._options.with_tokens:
            self._tokens += [token.id for token in delta.tokens]
        if self._options.with_logprobs:
            self._logprobs += encoded_each(chat_logprobs(delta.content_tokens, self._tokenizer))

    def scored(self, scores: PromptScores) -> None:
        """A chat's prompt is not scored."""

    def choice(self, ended: Ended) -> dict[str, Any]:
        """The finished choice."""
        logprobs = {"content": self._logprobs, "refusal": None}
        choice: dict[str, Any] = {
            "index": self._index,
            "message": self._message(),
            "logprobs": logprobs if self._options.with_logprobs else None,
            "finish_reason": finish_reason(ended, called=self._shaper.has_called),
        }
        return choice | ({"tokens": self._tokens} if self._options.with_tokens else {})

    def _collect(self, events: Sequence[AnswerEvent], num_tokens: int) -> None:
        for delta in self._shaper.deltas(events, num_tokens):
            if "content" in delta:
                self._content.append(delta["content"])
            elif "reasoning_content" in delta:
                self._reasoning.append(delta["reasoning_content"])
            else:
                self._collect_call(delta["tool_calls"][0])

    def _collect_call(self, call: Delta) -> None:
        if "id" in call:
            self._calls.append(_Call(call["id"], call["function"]["name"]))
        self._calls[-1].arguments.append(call["function"]["arguments"])

    def _message(self) -> dict[str, Any]:
        content = "".join(self._content)
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["content"] = content or None
            message["tool_calls"] = [call.to_json() for call in self._calls]
        return message
