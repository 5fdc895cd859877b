"""Decodes one streamed chunk: its part of the answer, and whether the answer ends with it.

There are two dialects: `native` (llama-server's /completion) and `openai` (chat and legacy
completions). Only the fields that the load needs are decoded. Skipping the rest keeps the client's
own CPU use low.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

Dialect = Literal["native", "openai"]


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


_native = msgspec.json.Decoder(_Native)
_openai = msgspec.json.Decoder(_OpenAI)


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


def _text(choice: _Choice) -> str:
    delta = choice.delta
    return (delta.reasoning_content or "") + (delta.content or "") + (choice.text or "")


DECODERS: dict[Dialect, Callable[[bytes], Chunk]] = {
    "native": decode_native,
    "openai": decode_openai,
}
