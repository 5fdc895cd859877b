"""The confined process that opens a model file first: `python -m server.model.inspector`.

llama.cpp has had memory faults in files that were made to cause them. The API process opens a file
itself only after a process with limits has done the same and has lived.

A question is JSON: a path, and what to read of the file. An answer is JSON: what was read, or an
error. A file that ends the process is not answered.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from pathlib import Path

from confined.loop import answer_all
from protocol.metadata import MetadataOverride
from server.model.gguf_contents import read_contents
from server.model.gguf_header import GgufError, GgufHeader, read_head, read_header
from server.model.tokenizer import LlamaTokenizer
from server.startup import VocabularyError

MEMORY_BYTES = 4 << 30
"""Maximum memory; a vocabulary of 260,000 tokens takes some hundred MB."""

_MAPPED_BYTES = 16 << 30
"""Address space for llama.cpp's libraries, which are large if they know GPUs, and for a header."""

_MAX_TOKENS = 1000
"""Number of tokens whose texts are split into tokens again."""

_MAX_TEXT = 1000
"""Maximum length of the metadata texts that are answered; the loader decides by short words."""

_MOST_NAMED = 1 << 15
"""Maximum number of tensors whose sizes are answered; no model has so many."""

_LONGEST_NAME = 64
"""Length of a tensor's name from which llama.cpp takes none."""


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    asked = json.loads(question)
    path, overrides = Path(asked["path"]), tuple(map(tuple, asked["overrides"]))
    if asked["what"] == "header":
        return json.dumps(_header(path)).encode()
    if asked["what"] == "contents":
        return json.dumps(_contents(path)).encode()
    if asked["what"] == "tensors":
        return json.dumps(_tensors(path)).encode()
    tokenizer = _tokenizer(path, overrides)
    if tokenizer is None:
        return json.dumps({}).encode()
    read = {"vocabulary": _vocabulary, "texts": _texts}[asked["what"]]
    return json.dumps(read(tokenizer)).encode()


def _header(path: Path) -> dict[str, object]:
    try:
        header = read_header(path)
    except GgufError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"can't be read: {error.strerror or error}"}
    return dataclasses.asdict(dataclasses.replace(header, metadata=_short(header)))


def _contents(path: Path) -> dict[str, object]:
    try:
        return dataclasses.asdict(read_contents(path))
    except GgufError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"can't be read: {error.strerror or error}"}


def _tensors(path: Path) -> dict[str, object]:
    try:
        tensors = read_head(path)[1]
    except GgufError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"can't be read: {error.strerror or error}"}
    named = (tensor for tensor in tensors if len(tensor.name) < _LONGEST_NAME)
    return {"sizes": {tensor.name: tensor.size for tensor in itertools.islice(named, _MOST_NAMED)}}


def _short(header: GgufHeader) -> dict[str, object]:
    return {
        key: value
        for key, value in header.metadata.items()
        if len(key) <= _MAX_TEXT and not (isinstance(value, str) and len(value) > _MAX_TEXT)
    }


def _vocabulary(tokenizer: LlamaTokenizer) -> dict[str, object]:
    """Read of the vocabulary what the API process will read."""
    tokenizer.metadata("tokenizer.chat_template")
    return {"end_tokens": len(tokenizer.end_tokens), "longest_piece": tokenizer.longest_piece}


def _texts(tokenizer: LlamaTokenizer) -> dict[str, object]:
    """Split texts: the vocabulary's own, and one of characters that may have no token."""
    own = tokenizer.text(range(min(tokenizer.n_vocab, _MAX_TOKENS)), special=True)
    odd = "".join(map(chr, range(1, 256))) + "\N{SNOWMAN} \N{GRINNING FACE}"
    tokens = [tokenizer.tokenize(text, add_special=True, parse_special=True) for text in (own, odd)]
    return {"tokens": sum(map(len, tokens))}


@functools.lru_cache(maxsize=1)
def _tokenizer(path: Path, overrides: tuple[MetadataOverride, ...]) -> LlamaTokenizer | None:
    """The vocabulary. None if llama.cpp refuses the file in order; it will do so again, and give
    its reason in the log."""
    try:
        return LlamaTokenizer(path, overrides)
    except VocabularyError:
        return None


if __name__ == "__main__":
    answer_all(answer, memory_bytes=MEMORY_BYTES, mapped_bytes=_MAPPED_BYTES)
