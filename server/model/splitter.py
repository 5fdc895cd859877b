"""The confined process that splits long texts into tokens: `python -m server.model.splitter`.

A question is prepared by a vocabulary: JSON with a path and the metadata's overrides. The rest of a
question is two flags and a text. An answer is the tokens, 32-bit numbers.
"""

from __future__ import annotations

import functools
import json
from array import array
from collections.abc import Sequence
from pathlib import Path

from confined.loop import answer_all
from confined.prepared import split
from grammars.deep_stack import call_with_deep_stack
from protocol.metadata import MetadataOverride
from server.model.tokenizer import LlamaTokenizer

_MEMORY_BYTES = 2 << 30
"""Maximum memory: a vocabulary takes up to some hundred MB, a text of 16 MiB some hundred more."""

_MAPPED_BYTES = 16 << 30
"""Address space for llama.cpp's libraries, which are large if they know GPUs."""

ENCODING = ("utf-8", "surrogatepass")


def vocabulary_bytes(path: Path, overrides: Sequence[MetadataOverride]) -> bytes:
    """What a process prepares to split texts with this vocabulary."""
    return json.dumps([str(path), list(overrides)]).encode()


def text_bytes(text: str, *, add_special: bool, parse_special: bool) -> bytes:
    """A question about a text."""
    return bytes([add_special, parse_special]) + text.encode(*ENCODING)


def tokens_of(answer: bytes) -> list[int]:
    """The tokens of an answer."""
    return list(array("i", answer))


def _answer(question: bytes) -> bytes:
    vocabulary, asked = split(question)
    tokenizer = _tokenizer(vocabulary)
    if not asked:
        return b""
    text = asked[2:].decode(*ENCODING)
    return array(
        "i", tokenizer.tokenize(text, add_special=bool(asked[0]), parse_special=bool(asked[1]))
    ).tobytes()


@functools.lru_cache(maxsize=1)
def _tokenizer(vocabulary: bytes) -> LlamaTokenizer:
    path, overrides = json.loads(vocabulary)
    return LlamaTokenizer(Path(path), tuple((key, value) for key, value in overrides))


def main() -> None:
    """Answer questions until the parent is gone."""
    call_with_deep_stack(
        lambda: answer_all(_answer, memory_bytes=_MEMORY_BYTES, mapped_bytes=_MAPPED_BYTES)
    )


if __name__ == "__main__":
    main()
