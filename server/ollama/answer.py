"""The answers of chats and completions: in one piece, or as a stream of lines of JSON."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pydantic_core

from server.answers.shape import StreamedAnswer, WholeAnswer
from server.chat.logprobs import chat_logprobs
from server.errors import ApiError
from server.generation.types import Ended, GeneratedToken, StopCause, TextDelta
from server.http.json_response import encode_json, encoded_each
from server.model.tokenizer import Tokenizer
from server.ollama.errors import error_body
from server.parsers.events import AnswerEvent, CallArguments, CallStarted, Content, Reasoning

LINES = "application/x-ndjson"
"""The media type of a stream."""

_BREAKS = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\x85\u2028\u2029")
"""Characters at which some clients break lines, and how JSON writes them otherwise."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """What an answer depends on, besides what the model writes."""

    model: str
    """The name that the request used."""
    is_chat: bool
    tokenizer: Tokenizer
    started: int = field(default_factory=time.monotonic_ns)
    loaded: int = field(default_factory=time.monotonic_ns)
    """Nanoseconds of the monotonic clock, at the start of the request and when it had its model."""
    is_parsed: bool = True
    """Whether a parser reads the answer. Otherwise its text is its content."""
    max_calls: int | None = None
    with_logprobs: bool = False
    prompt: Sequence[int] | None = None
    """The prompt's tokens, for an answer that gives the conversation back as tokens."""

    def line(self, content: str, thinking: str, calls: Sequence[Json]) -> Json:
        """The object for a piece of the answer."""
        more: Json = {"thinking": thinking} if thinking else {}
        if calls:
            more["tool_calls"] = list(calls)
        if self.is_chat:
            said: Json = {"message": {"role": "assistant", "content": content, **more}}
        else:
            said = {"response": content, **more}
        return {"model": self.model, "created_at": now_text(), **said, "done": False}

    def end(self, ended: Ended) -> Json:
        """The fields of the object that ends the answer."""
        timings, now = ended.timings, time.monotonic_ns()
        return {
            "done": True,
            "done_reason": "length" if ended.cause is StopCause.LIMIT else "stop",
            "total_duration": now - self.started,
            "load_duration": self.loaded - self.started,
            "prompt_eval_count": ended.num_prompt_tokens,
            "prompt_eval_duration": _nanoseconds(timings.prompt_ms),
            "eval_count": timings.predicted_n,
            "eval_duration": _nanoseconds(timings.predicted_ms),
        }

    def logprobs(self, delta: TextDelta) -> list[Json]:
        """The entries for the tokens of a delta's content."""
        if not self.with_logprobs:
            return []
        tokens: Iterable[GeneratedToken] = delta.content_tokens if self.is_parsed else delta.tokens
        return chat_logprobs(tokens, self.tokenizer)


def now_text() -> str:
    """The time now, as RFC 3339 has it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def empty_answer(model: str, reason: str, *, is_chat: bool) -> Json:
    """The answer to a request without a prompt, which loads or unloads a model."""
    said: Json = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    head = {"model": model, "created_at": now_text()}
    return {**head, **said, "done": True, "done_reason": reason}


class _Reader:
    """Reads the events of an answer. A call is given once it is complete."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._name = ""
        self._arguments: list[str] = []
        self._num_calls = 0
        self._tokens: list[int] = []

    def read(self, delta: TextDelta) -> tuple[str, str, list[Json]]:
        """The content, the thinking and the calls of a delta."""
        if self._form.prompt is not None:
            self._tokens += [token.id for token in delta.tokens]
        if not self._form.is_parsed:
            return delta.text, "", []
        content: list[str] = []
        thinking: list[str] = []
        calls: list[Json] = []
        for event in delta.events:
            if not isinstance(event, CallArguments):
                calls += self._finished()
            self._take(event, content, thinking)
        return "".join(content), "".join(thinking), calls

    def finish(self) -> list[Json]:
        """The call that was open at the end."""
        return self._finished()

    def context(self, ended: Ended) -> Json:
        """The field with the tokens of the conversation, if the answer has it."""
        if self._form.prompt is None:
            return {}
        last = [] if ended.end_token is None else [ended.end_token.id]
        return {"context": [*self._form.prompt, *self._tokens, *last]}

    def _take(self, event: AnswerEvent, content: list[str], thinking: list[str]) -> None:
        match event:
            case Content():
                content.append(event.text)
            case Reasoning():
                thinking.append(event.text)
            case CallStarted():
                self._name = event.name
            case CallArguments():
                self._arguments.append(event.text)

    def _finished(self) -> list[Json]:
        """The open call, if there is one; calls beyond the most are dropped."""
        name, text = self._name, "".join(self._arguments)
        self._name, self._arguments = "", []
        if not name:
            return []
        index, most = self._num_calls, self._form.max_calls
        self._num_calls += 1
        if most is not None and index >= most:
            return []
        function = {"index": index, "name": name, "arguments": _arguments(text)}
        return [{"id": f"call_{secrets.token_hex(4)}", "function": function}]


class WholeOllamaAnswer(WholeAnswer):
    """Collects the answer."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._reader = _Reader(form)
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[Json] = []
        self._logprobs: list[msgspec.Raw] = []
        self._end: Json = {}

    def add(self, index: int, delta: TextDelta) -> None:
        content, thinking, calls = self._reader.read(delta)
        self._content.append(content)
        self._thinking.append(thinking)
        self._calls += calls
        self._logprobs += encoded_each(self._form.logprobs(delta))

    def end(self, index: int, ended: Ended) -> None:
        self._calls += self._reader.finish()
        self._end = {**self._form.end(ended), **self._reader.context(ended)}

    def body(self) -> Json:
        line = self._form.line("".join(self._content), "".join(self._thinking), self._calls)
        logprobs = {"logprobs": self._logprobs} if self._form.with_logprobs else {}
        return {**line, **self._end, **logprobs}


class OllamaLines(StreamedAnswer):
    """Writes a line for each piece of the answer, and one that ends it."""

    media_type = LINES
    ping = b""
    """Clients take each line for a piece of the answer."""

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._reader = _Reader(form)

    def delta(self, index: int, delta: TextDelta) -> bytes:
        content, thinking, calls = self._reader.read(delta)
        logprobs = self._form.logprobs(delta)
        if not (content or thinking or calls or logprobs):
            return b""
        line = self._form.line(content, thinking, calls)
        return encoded_line({**line, "logprobs": logprobs} if logprobs else line)

    def end(self, index: int, ended: Ended) -> bytes:
        line = self._form.line("", "", self._reader.finish())
        return encoded_line({**line, **self._form.end(ended), **self._reader.context(ended)})

    def error(self, error: ApiError) -> bytes:
        return encoded_line(error_body(error))


def encoded_line(value: Json) -> bytes:
    """One line of a stream."""
    line = encode_json(value)
    for character, escape in _BREAKS:
        if character in line:
            line = line.replace(character, escape)
    return line + b"\n"


def _arguments(text: str) -> Json:
    """The arguments of a call. A limit may have cut them; what is there is read."""
    try:
        found = pydantic_core.from_json(text, allow_partial=True) if text.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _nanoseconds(milliseconds: float) -> int:
    return max(int(milliseconds * 1e6), 0)
