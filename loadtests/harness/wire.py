"""Decodes one streamed chunk: its part of the answer, and whether the answer ends with it.

The dialects are `native` (llama-server's /completion), `openai` (chat and legacy completions),
`anthropic` (messages) and `responses` (OpenAI's other API). Only the fields that the load needs are
decoded. Skipping the rest keeps the client's own CPU use low.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

Dialect = Literal["native", "openai", "anthropic", "responses"]


@dataclass(frozen=True)
class Chunk:
    """The content of one event.

    `pieces` is the number of tokens that the event names, or 1 for text without named tokens. Only
    the last chunk has the counts.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""
    final: bool = False
    predicted: int | None = None
    prompt: int | None = None
    computed: int | None = None
    """Tokens of the prompt that no cache had; None if the server doesn't report it."""
    reason: str = ""
    error: str = ""

    @property
    def pieces(self) -> int:
        return len(self.tokens) or int(bool(self.text))


class _Timings(msgspec.Struct):
    prompt_n: int | None = None


class _Native(msgspec.Struct):
    content: str = ""
    tokens: tuple[int, ...] = ()
    stop: bool = False
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    timings: _Timings = msgspec.field(default_factory=_Timings)
    stop_type: str = ""
    error: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int = 0
    prompt_tokens: int = 0


class _OpenAI(msgspec.Struct):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _BlockDelta(msgspec.Struct):
    text: str = ""
    thinking: str = ""
    stop_reason: str | None = None


class _OutputUsage(msgspec.Struct):
    output_tokens: int = 0
    input_tokens: int = 0


class _Anthropic(msgspec.Struct):
    type: str
    delta: _BlockDelta = msgspec.field(default_factory=_BlockDelta)
    usage: _OutputUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct):
    status: str = ""
    usage: _OutputUsage | None = None
    error: msgspec.Raw = msgspec.Raw()


class _ResponseEvent(msgspec.Struct):
    type: str
    delta: str = ""
    response: _Response = msgspec.field(default_factory=_Response)


_native = msgspec.json.Decoder(_Native)
_openai = msgspec.json.Decoder(_OpenAI)
_anthropic = msgspec.json.Decoder(_Anthropic)
_responses = msgspec.json.Decoder(_ResponseEvent)


def decode_native(payload: bytes) -> Chunk:
    """A chunk of /completion."""
    body = _native.decode(payload)
    if bytes(body.error):
        return Chunk(error=bytes(body.error).decode())
    if not body.stop:
        return Chunk(tokens=body.tokens, text=body.content)
    return Chunk(
        tokens=body.tokens,
        text=body.content,
        final=True,
        predicted=body.tokens_predicted,
        prompt=body.tokens_evaluated,
        computed=body.timings.prompt_n,
        reason=body.stop_type,
    )


def decode_openai(payload: bytes) -> Chunk:
    """A chunk of /v1/chat/completions or /v1/completions, sent with `include_usage`."""
    if payload == b"[DONE]":
        return Chunk(final=True)
    body = _openai.decode(payload)
    if bytes(body.error):
        return Chunk(error=bytes(body.error).decode())
    text = "".join(_text(choice) for choice in body.choices)
    reason = next((c.finish_reason for c in body.choices if c.finish_reason), "")
    if body.usage is None:
        return Chunk(text=text, reason=reason)
    usage = body.usage
    return Chunk(
        text=text, predicted=usage.completion_tokens, prompt=usage.prompt_tokens, reason=reason
    )


def decode_anthropic(payload: bytes) -> Chunk:
    """An event of /v1/messages."""
    body = _anthropic.decode(payload)
    match body.type:
        case "content_block_delta":
            return Chunk(text=body.delta.thinking + body.delta.text)
        case "message_delta":
            usage = body.usage or _OutputUsage()
            reason = body.delta.stop_reason or ""
            counts = (usage.output_tokens, usage.input_tokens)
            return Chunk(predicted=counts[0], prompt=counts[1], reason=reason)
        case "error":
            return Chunk(error=bytes(body.error).decode())
    return Chunk(final=body.type == "message_stop")


def decode_responses(payload: bytes) -> Chunk:
    """An event of /v1/responses."""
    body = _responses.decode(payload)
    match body.type:
        case (
            "response.output_text.delta"
            | "response.reasoning_text.delta"
            | "response.reasoning_summary_text.delta"
        ):
            return Chunk(text=body.delta)
        case "response.completed" | "response.incomplete":
            usage = body.response.usage or _OutputUsage()
            counts = (usage.output_tokens, usage.input_tokens)
            return Chunk(
                final=True, predicted=counts[0], prompt=counts[1], reason=body.response.status
            )
        case "response.failed":
            return Chunk(error=bytes(body.response.error).decode())
    return Chunk()


def _text(choice: _Choice) -> str:
    delta = choice.delta
    return (delta.reasoning_content or "") + (delta.content or "") + (choice.text or "")


DECODERS: dict[Dialect, Callable[[bytes], Chunk]] = {
    "native": decode_native,
    "openai": decode_openai,
    "anthropic": decode_anthropic,
    "responses": decode_responses,
}
