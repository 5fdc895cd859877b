"""The requests of one reading, in every dialect, and the judgement of their answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from loadtests.harness.scenario import Record, Request
from loadtests.harness.wire import Dialect
from loadtests.reception.script import STREAMS_PER_DEGREE, Orders

PROMPT = "Say it."

MESSAGES = [{"role": "user", "content": PROMPT}]

KINDS: dict[str, tuple[str, Dialect, str, dict[str, Any]]] = {
    "completion": ("/completion", "native", "n_predict", {"prompt": PROMPT}),
    "completions": (
        "/v1/completions",
        "openai",
        "max_tokens",
        {"prompt": PROMPT, "stream_options": {"include_usage": True}},
    ),
    "chat": (
        "/v1/chat/completions",
        "openai",
        "max_tokens",
        {"messages": MESSAGES, "stream_options": {"include_usage": True}},
    ),
    "messages": ("/v1/messages", "anthropic", "max_tokens", {"messages": MESSAGES}),
    "responses": ("/v1/responses", "responses", "max_output_tokens", {"input": PROMPT}),
}
"""By name: path, dialect, the field with the number of tokens, and the other fields."""


def request(kind: str, stream: int, num_tokens: int, **fields: Any) -> Request:
    """The streamed request of a stream; the scripted engine reads from it which answer to say."""
    path, dialect, limit, own = KINDS[kind]
    body = {
        "model": "any",
        "stream": True,
        "temperature": stream / STREAMS_PER_DEGREE,
        "seed": 0,
        "ignore_eos": True,
        limit: num_tokens,
        **own,
        **fields,
    }
    payload = msgspec.json.encode(body)
    return Request(path, payload, num_tokens, cost_tokens=num_tokens, dialect=dialect)


def expected_text(tokens: Sequence[int], pieces: Sequence[bytes]) -> str:
    """The text of these tokens."""
    return b"".join(pieces[token] for token in tokens).decode(errors="replace")


def problem(record: Record, stream: int, orders: Orders, pieces: Sequence[bytes]) -> str:
    """What is wrong with the answer of a stream; "" if nothing is."""
    if record.error:
        return record.error
    tokens = orders.tokens(stream, record.exact_tokens or 0)
    text, expected = "".join(record.text), expected_text(tokens, pieces)
    if text != expected:
        at = next(
            (i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b),
            min(len(text), len(expected)),
        )
        return f"differs at character {at}: {text[at : at + 30]!r} for {expected[at : at + 30]!r}"
    if record.tokens and record.tokens != tokens:
        return "the text is right, and the list of tokens is not"
    return ""
