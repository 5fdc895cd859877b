"""A client's request on its way to a replica, and the head of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_PROMPT = 64_000
"""Characters of a prompt that routing looks at."""

TEXT_FIELDS = (
    *("tools", "system", "instructions", "messages", "input", "input_extra", "input_prefix"),
    "prompt",
)
"""Fields of any dialect whose texts the prompt is made of, in the order of most templates."""

NO_TEXT = frozenset({"role", "type", "id"})
"""Fields whose values all prompts share, or none."""

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
"""Headers that are about one connection, and not about the request or the answer."""

OF_SERVE = frozenset({"date", "server", "x-request-id"})
"""Headers of an answer that Serve sets itself; the id is the one that the engine was told."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A request. Ray's prefix-aware router reads `prompt`."""

    method: str
    target: str
    """The path, with the query."""
    headers: Headers
    body: bytes
    prompt: str


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; its body follows in pieces."""

    status: int
    headers: Headers

    @property
    def content_type(self) -> str:
        """The content type; "" without one."""
        return next((v for name, v in self.headers if name.lower() == "content-type"), "")


def kept(headers: Iterator[tuple[str, str]]) -> Headers:
    """The headers that are passed on."""
    return tuple((name, value) for name, value in headers if name.lower() not in HOP_BY_HOP)


def prompt_of(body: bytes) -> str:
    """The beginning of the prompt in a body of JSON, of whichever dialect; "" without a prompt.

    The text is not what a model reads: it is enough that equal beginnings stay equal.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    return _joined(_texts([fields.get(name) for name in TEXT_FIELDS]))


def _texts(value: Any) -> Iterator[str]:
    """The strings in a value, in their order."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            rest.extend(reversed([one[name] for name in one if name not in NO_TEXT]))
        elif isinstance(one, list):
            rest.extend(reversed(one))


def _joined(texts: Iterator[str]) -> str:
    parts, size = [], 0
    for text in texts:
        parts.append(text[: MAX_PROMPT - size])
        size += len(parts[-1]) + 1
        if size >= MAX_PROMPT:
            break
    return "\n".join(parts)
