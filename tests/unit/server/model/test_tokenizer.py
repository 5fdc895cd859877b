"""The demo model's vocabulary without its weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.model.tokenizer import LlamaTokenizer
from server.startup import VocabularyError
from tests.support.paths import DEMO_TARGET

TARGET = DEMO_TARGET
TOKENIZER = LlamaTokenizer(TARGET)
CONTROL = "<|im_start|>"


def tokens_of(text: str, *, special: bool = False) -> list[int]:
    return TOKENIZER.tokenize(text, add_special=False, parse_special=special)


def text_of(tokens: list[int], *, special: bool = False) -> str:
    return TOKENIZER.text(tokens, special=special)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_text_survives(text: str) -> None:
    assert text_of(tokens_of(text)) == text


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_tokens_are_in_range(text: str) -> None:
    assert all(0 <= token < TOKENIZER.n_vocab for token in tokens_of(text, special=True))


def test_a_long_text_survives() -> None:
    text = "The capital of France is Paris. \U0001f600\n" * 2000
    assert text_of(tokens_of(text)) == text


def test_a_lone_surrogate_is_replaced() -> None:
    assert text_of(tokens_of("a\ud800b")) == "a?b"


def test_control_tokens_are_read_only_if_asked() -> None:
    (token,) = tokens_of(CONTROL, special=True)
    plain = tokens_of(CONTROL)
    assert token not in plain
    assert text_of(plain) == CONTROL
    assert TOKENIZER.piece(token) == b""
    assert TOKENIZER.piece(token, special=True) == CONTROL.encode()
    assert text_of([token, *plain]) == CONTROL
    assert text_of([token, *plain], special=True) == CONTROL * 2


def test_half_a_character_becomes_a_replacement_character() -> None:
    tokens = next(found for c in "€\U0001f600\u0b85" if len(found := tokens_of(c)) > 1)
    assert text_of(tokens[:1]) == "\ufffd"


def test_the_beginning_is_added_only_if_asked() -> None:
    with_special = TOKENIZER.tokenize("a", add_special=True, parse_special=False)
    assert with_special in ([TOKENIZER.bos, *tokens_of("a")], tokens_of("a"))


def test_an_end_of_turn_ends_a_generation() -> None:
    (token,) = tokens_of("<|im_end|>", special=True)
    assert token in TOKENIZER.end_tokens
    assert TOKENIZER.eos in TOKENIZER.end_tokens


@pytest.mark.parametrize("token", [-1, TOKENIZER.n_vocab, 10**9])
def test_a_token_that_does_not_exist_is_an_error(token: int) -> None:
    with pytest.raises(IndexError):
        TOKENIZER.piece(token)


def test_every_token_has_a_piece() -> None:
    assert all(TOKENIZER.piece(token, special=True) for token in range(3, TOKENIZER.n_vocab))


def test_metadata_of_any_length() -> None:
    assert TOKENIZER.metadata("general.architecture") == "llama"
    assert "im_start" in (TOKENIZER.metadata("tokenizer.chat_template") or "")
    assert TOKENIZER.metadata("no.such.key") is None


def test_threads_get_the_same_tokens() -> None:
    texts = [f"sentence number {index} of many" for index in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(tokens_of, texts)) == [tokens_of(text) for text in texts]


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_a_file_without_a_vocabulary_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VocabularyError, match=r"bad\.gguf"):
        LlamaTokenizer(path)


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    """A vocabulary of SentencePiece's kind, which puts a space before every text."""
    path = tmp_path_factory.mktemp("vocabulary") / "spm.gguf"
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([2, 3, 3, *[6] * 256, 1, 1, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return LlamaTokenizer(path)


@pytest.mark.parametrize("text", ["a", "a a", " a", "b é", "", "a\n\na"])
def test_a_prompts_text_begins_with_its_bos(sentencepiece: LlamaTokenizer, text: str) -> None:
    tokens = sentencepiece.tokenize(text, add_special=True, parse_special=True)
    assert sentencepiece.prompt_text(tokens) == (f"<s> {text}" if text else "<s>")
    assert sentencepiece.prompt_text(tokens[1:]) == text


@pytest.mark.parametrize("text", ["What is", " a", f"{CONTROL}user\nä😀", "", "x" * 500])
def test_a_prompts_text_survives(text: str) -> None:
    assert TOKENIZER.prompt_text(tokens_of(text, special=True)) == text
