"""The answer: a response in one piece, or the stream of its events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from server.answers.shape import StreamedAnswer, WholeAnswer
from server.chat.logprobs import chat_logprobs
from server.errors import ApiError
from server.generation.types import Ended, StopCause, TextDelta
from server.http.json_response import encode_json, encoded_each
from server.model.tokenizer import Tokenizer
from server.openai.responses.errors import error_code
from server.openai.responses.output import Event, Output, OutputOptions
from server.openai.responses.request import ResponseRequest

Finish = Callable[[dict[str, Any]], None]
"""Takes the finished response, to store it."""


def new_response_id() -> str:
    """A new id for a response."""
    return f"resp_{secrets.token_hex(24)}"


class ResponseObject:
    """The response object: what was asked for, and what has come of it."""

    def __init__(self, body: ResponseRequest, model: str) -> None:
        self._asked = _asked_fields(body, model)

    @property
    def id(self) -> str:
        """The response's id."""
        found: str = self._asked["id"]
        return found

    def fields(self, status: str, **fields: Any) -> dict[str, Any]:
        """The object with this status; `fields` replace those that are still empty."""
        return {**self._asked, "status": status, **fields}


def _asked_fields(body: ResponseRequest, model: str) -> dict[str, Any]:
    choice = body.tool_choice
    plain = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "id": new_response_id(),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": body.background,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata,
        "model": model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls,
        "previous_response_id": body.previous_response_id,
        "reasoning": {"effort": body.reasoning.effort, "summary": body.reasoning.summary},
        "store": body.store,
        "temperature": body.temperature,
        "text": plain["text"],
        "tool_choice": choice if isinstance(choice, str) else plain["tool_choice"],
        "tools": [tool for tool in plain.get("tools", []) if tool["type"] == "function"],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": body.truncation,
        "usage": None,
    }


def _usage(ended: Ended, num_reasoning: int) -> dict[str, Any]:
    timings = ended.timings
    return {
        "input_tokens": ended.num_prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": timings.cache_n,
            "cache_write_tokens": ended.num_prompt_tokens - timings.cache_n,
        },
        "output_tokens": timings.predicted_n,
        "output_tokens_details": {"reasoning_tokens": num_reasoning},
        "total_tokens": ended.num_prompt_tokens + timings.predicted_n,
    }


class Growing:
    """A response that grows: its events, without their numbers."""

    def __init__(
        self,
        response: ResponseObject,
        options: OutputOptions,
        tokenizer: Tokenizer,
        on_finish: Finish = lambda response: None,
    ) -> None:
        """`on_finish` is called with the finished response."""
        self.response = response
        self._output = Output(options)
        self._tokenizer = tokenizer
        self._on_finish = on_finish

    def start(self, status: str, *kinds: str) -> Iterable[Event]:
        """Events that tell of this status and nothing else."""
        response = self.response.fields(status)
        return [{"type": kind, "response": response} for kind in kinds]

    def now(self, status: str) -> dict[str, Any]:
        """The response while it grows."""
        return self.response.fields(status, output=self._output.items)

    def add(self, delta: TextDelta) -> Iterable[Event]:
        """The events for more of the answer."""
        logprobs = encoded_each(chat_logprobs(delta.content_tokens, self._tokenizer))
        return self._output.of(delta.events, len(delta.tokens), logprobs)

    def end(self, ended: Ended) -> Iterable[Event]:
        """The events that end it; the last one has the finished response."""
        is_cut = ended.cause is StopCause.LIMIT
        status = "incomplete" if is_cut else "completed"
        yield from self._output.close(status)
        details = {"incomplete_details": {"reason": "max_output_tokens"}} if is_cut else {}
        finished = self.response.fields(
            status,
            **details,
            completed_at=None if is_cut else int(time.time()),
            output=self._output.items,
            usage=_usage(ended, self._output.num_reasoning_tokens),
        )
        self._on_finish(finished)
        yield {"type": f"response.{status}", "response": finished}

    def fail(self, error: ApiError) -> Event:
        """The event that ends it with an error. The response keeps what there is of the answer."""
        return self._cut("failed", error={"code": error_code(error), "message": error.message})

    def cancel(self) -> Event:
        """The event that ends it because its owner has called it off."""
        return self._cut("cancelled")

    def _cut(self, status: str, **fields: Any) -> Event:
        # The open item is not announced as done: a client could run a call that is cut.
        for _ in self._output.close("incomplete"):
            pass
        response = self.response.fields(status, output=self._output.items, **fields)
        return {"type": f"response.{status}", "response": response}


class WholeResponse(WholeAnswer):
    """Collects the response."""

    def __init__(self, *parts: Any) -> None:
        self._growing = Growing(*parts)
        self._body: dict[str, Any] = {}

    def add(self, index: int, delta: TextDelta) -> None:
        for _ in self._growing.add(delta):
            pass

    def end(self, index: int, ended: Ended) -> None:
        *_, last = self._growing.end(ended)
        self._body = last["response"]

    def body(self) -> dict[str, Any]:
        return self._body


class ResponseStream(StreamedAnswer):
    """Writes the events, numbered from 0."""

    def __init__(self, *parts: Any) -> None:
        self._growing = Growing(*parts)
        self._count = 0

    def start(self) -> bytes:
        kinds = ("response.created", "response.in_progress")
        return self._frames(self._growing.start("in_progress", *kinds))

    def delta(self, index: int, delta: TextDelta) -> bytes:
        return self._frames(self._growing.add(delta))

    def end(self, index: int, ended: Ended) -> bytes:
        return self._frames(self._growing.end(ended))

    def error(self, error: ApiError) -> bytes:
        return self._frames([self._growing.fail(error)])

    def _frames(self, events: Iterable[Event]) -> bytes:
        frames = [framed(event, number) for number, event in enumerate(events, self._count)]
        self._count += len(frames)
        return b"".join(frames)


def framed(event: Event, number: int) -> bytes:
    """An event with its number, ready to send."""
    numbered = {"type": event["type"], "sequence_number": number, **event}
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encode_json(numbered))


def data_of(frame: bytes) -> bytes:
    """The JSON of a framed event."""
    return frame.partition(b"\ndata: ")[2]
