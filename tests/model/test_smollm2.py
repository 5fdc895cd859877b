"""SmolLM2, a real model with a BPE vocabulary. Skipped unless LLAMAPACK_SMOLLM2 names its GGUF."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import gguf
import httpx
import pytest

from server.model.tokenizer import LlamaTokenizer
from tests.support.processes import Server

PATH = Path(os.environ.get("LLAMAPACK_SMOLLM2", "missing"))

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="LLAMAPACK_SMOLLM2 names no file")

TEXTS = [
    "What is the capital of France?",
    "  two spaces,\ttab\r\nand lines\n\n\n",
    "Größe 漢字 😀 e\u0301 ﬁ ▁",
    "def f(x):\n    return x ** 2  # don't",
    "1234567890 3.14 \u00a0\u200b",
    "<|im_start|>user",
]


@pytest.fixture(scope="module")
def tokenizer() -> LlamaTokenizer:
    return LlamaTokenizer(PATH)


@pytest.fixture(scope="module")
def pieces() -> list[str]:
    """The pieces of the file, as written there: each character stands for a byte."""
    field = gguf.GGUFReader(PATH).fields["tokenizer.ggml.tokens"]
    return [bytes(field.parts[index]).decode() for index in field.data]


def _characters_of_bytes() -> dict[int, str]:
    """GPT-2 writes a byte as this character: printable ones as themselves, others from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + index) for index, byte in enumerate(others)
    }


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_the_files_own_pieces(
    tokenizer: LlamaTokenizer, pieces: list[str], text: str
) -> None:
    tokens = tokenizer.tokenize(text, add_special=False, parse_special=False)
    characters = _characters_of_bytes()
    assert "".join(pieces[token] for token in tokens) == "".join(
        characters[byte] for byte in text.encode()
    )
    assert tokenizer.text(tokens) == text


def test_each_piece_has_the_bytes_that_the_file_says(
    tokenizer: LlamaTokenizer, pieces: list[str]
) -> None:
    bytes_of = {character: byte for byte, character in _characters_of_bytes().items()}
    text_tokens = [token for token in range(tokenizer.n_vocab) if tokenizer.piece(token)]
    assert len(text_tokens) > 49_000
    for token in text_tokens:
        assert tokenizer.piece(token) == bytes(map(bytes_of.__getitem__, pieces[token]))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    server = Server("-m", str(PATH))
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, timeout=60) as client:
            yield client
    finally:
        server.end()


def _chat(client: httpx.Client, question: str, **fields: object) -> str:
    messages = [{"role": "user", "content": question}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 48, **fields}
    response = client.post("/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_it_knows_paris(client: httpx.Client) -> None:
    """llama-server's answers with the same file."""
    assert _chat(client, "Name the capital of France.") == "The capital of France is Paris."
    where = _chat(client, "Where is the Eiffel Tower?")
    assert where == "The Eiffel Tower is located in Paris, France, France."


def test_an_object_follows_its_schema(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Paris", "Rome"]}, "is_capital": {"const": True}},
        "required": ["city", "is_capital"],
        "additionalProperties": False,
    }
    format_ = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    answer = _chat(client, "What is the capital of France?", response_format=format_)
    assert json.loads(answer) == {"city": "Paris", "is_capital": True}


def test_a_grammar_forces_characters_of_several_tokens(client: httpx.Client) -> None:
    answer = _chat(client, "Hello!", grammar='root ::= "漢字 😀 " [0-9]{3} "▁ﬁ"')
    assert answer.startswith("漢字 😀 ")
    assert answer.endswith("▁ﬁ")
    assert answer[5:8].isdigit()
