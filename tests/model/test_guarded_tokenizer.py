"""Texts of clients are split as the vocabulary says, and none ends or holds up the process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grammars.deep_stack import call_with_deep_stack
from protocol.metadata import MetadataOverride
from server.model.guarded_tokenizer import (
    REFUSED_SECONDS,
    SMALL_BYTES,
    GuardedTokenizer,
    Refusals,
    UnsplittableText,
    texts_of,
)
from server.model.tokenizer import LlamaTokenizer
from tests.support.paths import DEMO_TARGET
from tests.support.tiny_models import Vocabulary, single_layer

WORDS = Vocabulary(words=("▁a", "▁the", "the", "th", "x", "▁x"))
RECURSIVE = ("tekken", "gpt-4o", "deepseek-v3")
"""Pre-tokenizers whose regular expressions recurse in llama.cpp."""

ALPHABETS = (
    "ab AB19\n",
    "\0\x01\t\r\n \u00a0\u2028",
    "é漢字\N{GRINNING FACE}e\u0301ﬁǅ²",
    "<|im_start|>user</s>'s",
    "".join(map(chr, range(1, 0x300))) + "\U0010ffff\ud800",
)


@pytest.fixture(scope="module", params=["sentencepiece", "bpe", *RECURSIVE])
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedTokenizer]:
    path, overrides = DEMO_TARGET, list[MetadataOverride]()
    if request.param == "sentencepiece":
        path = tmp_path_factory.mktemp("models") / "model.gguf"
        single_layer(path, vocabulary=WORDS)
    elif request.param in RECURSIVE:
        overrides = [("tokenizer.ggml.pre", request.param)]
    tokenizer = GuardedTokenizer(Path(path), overrides)
    yield tokenizer
    tokenizer.close()


def in_process(tokenizer: LlamaTokenizer, text: str, **options: bool) -> list[int]:
    """The tokens by llama.cpp alone, with a stack that is large enough."""
    return call_with_deep_stack(lambda: LlamaTokenizer.tokenize(tokenizer, text, **options))


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("size", [40, 70, 300, SMALL_BYTES + 1])
def test_tokens_are_the_same_in_each_way(
    tokenizer: GuardedTokenizer, alphabet: str, size: int
) -> None:
    chance = random.Random(size)
    for options in (
        {"add_special": True, "parse_special": True},
        {"add_special": False, "parse_special": False},
    ):
        text = "".join(chance.choices(alphabet, k=size))
        assert tokenizer.tokenize(text, **options) == in_process(tokenizer, text, **options)


@pytest.mark.parametrize("run", ["a", "A", "é", "中", " ", "\0", "!", "1a", "/\n"])
def test_long_runs_are_split(tokenizer: GuardedTokenizer, run: str) -> None:
    text = (run * 50_000)[:50_000]
    tokens = tokenizer.tokenize(text, add_special=False, parse_special=False)
    spelled = tokenizer.text(tokens).replace("▁", " ")
    assert spelled.lstrip(" ") == text.lstrip(" ")


@pytest.fixture
def recursive() -> Iterator[GuardedTokenizer]:
    tokenizer = GuardedTokenizer(DEMO_TARGET, [("tokenizer.ggml.pre", "tekken")])
    yield tokenizer
    tokenizer.close()


@pytest.mark.parametrize("run", ["a", "Z", "ж"])
def test_a_text_that_ends_its_process_is_refused(recursive: GuardedTokenizer, run: str) -> None:
    text = run * 2_000_000
    options = {"add_special": False, "parse_special": True}
    with ThreadPoolExecutor() as threads:
        crash = threads.submit(recursive.tokenize, text, **options)
        other = "some words " * 4000
        for _ in range(5):
            tokens = recursive.tokenize(other, **options)
            assert recursive.text(tokens).strip() == other.strip()
        with pytest.raises(UnsplittableText, match="memory"):
            crash.result()
    recursive.close()
    recursive.pool.ask = None  # type: ignore[method-assign, assignment]  # nobody is asked again
    with pytest.raises(UnsplittableText, match="bytes") as caught, texts_of("messages"):
        recursive.tokenize(text, **options)
    assert caught.value.body()["error"]["param"] == "messages"
    assert caught.value.status == 400


def test_a_refusal_is_forgotten_after_a_while() -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    refusals.check(b"text")
    refusals.add(b"text", "takes too much memory")
    refusals.check(b"another")
    with pytest.raises(UnsplittableText, match="too much memory"):
        refusals.check(b"text")
    now = REFUSED_SECONDS
    refusals.check(b"text")
