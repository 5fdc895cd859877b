"""SentencePiece vocabularies whose tokenizer writes a text with other bytes than the text has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

from grammars import compiler
from grammars.constraint import Constraint, GbnfGrammar
from protocol.events import FinishReason
from protocol.metadata import override_array
from scheduler.constraint import create_matcher, vocabulary_of_llama
from server.model.tokenizer import LlamaTokenizer
from server.startup import VocabularyError
from tests.support.backends import make_backend
from tests.support.engines import Server
from tests.support.paths import DEMO_TARGET
from tests.support.tiny_models import Vocabulary, single_layer

VOCABULARIES = {
    "bytes": Vocabulary(),
    "spaced-words": Vocabulary(words=("▁a", "▁the", "▁▁", "the", "x", "▁x")),
    "lone-space": Vocabulary(words=("▁", "▁a", "the", "th", "x", "▁x")),
    "no-prefix": Vocabulary(words=("▁a", "the"), space_prefix=False),
    "no-prefix-lone-space": Vocabulary(words=("▁", "▁the", ":▁"), space_prefix=False),
}
TEXTS = ["the x", " the", "  a  the ", "a▁b", "▁", "é a\n\tb", "ﬁ ①", "<s> </s>", "<0x20> 😀"]
OBJECT = {
    "type": "object",
    "properties": {"the key": {"const": " a  the x▁"}, "n": {"enum": [" ", "▁"]}},
    "required": ["the key", "n"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module", params=VOCABULARIES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    single_layer(path, vocabulary=VOCABULARIES[request.param])
    return path


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[Server]:
    backend = make_backend(model_path=str(path), n_ctx=1024)
    yield Server(backend)
    backend.close()


def _answer(server: Server, path: Path, constraint: Constraint) -> str:
    answer = server.answer([1], 200, constraint=constraint)
    assert (answer.reason, answer.message) == (FinishReason.STOP, "")
    return LlamaTokenizer(path).text(answer.tokens)


@pytest.mark.parametrize("text", TEXTS)
def test_a_forced_text_is_written_byte_by_byte(server: Server, path: Path, text: str) -> None:
    grammar = f"root ::= {json.dumps(text, ensure_ascii=False)}"
    for constraint in (
        compiler.from_choices([text]),
        compiler.from_gbnf(grammar),
        compiler.from_regex(re.escape(text)),
    ):
        assert _answer(server, path, constraint) == text


def test_llama_cpps_own_grammars_too(server: Server, path: Path) -> None:
    assert _answer(server, path, GbnfGrammar('root ::= "  a▁ the é"')) == "  a▁ the é"


def test_an_object_follows_its_schema(server: Server, path: Path) -> None:
    value = json.loads(_answer(server, path, compiler.from_json_schema(OBJECT)))
    assert value["the key"] == " a  the x▁"
    assert value["n"] in (" ", "▁")


@pytest.mark.parametrize("missing", [0x00, 0x20, 0x7F, 0xBF, 0xF4])
def test_a_vocabulary_without_a_byte_is_refused(tmp_path: Path, missing: int) -> None:
    """llama.cpp ends the process at a text with that byte."""
    path = tmp_path / "model.gguf"
    has = [byte for byte in range(256) if byte != missing]
    single_layer(path, vocabulary=Vocabulary(bytes=has))
    with pytest.raises(VocabularyError, match=f"no token for byte 0x{missing:02X}"):
        LlamaTokenizer(path)


def test_a_letter_is_the_token_of_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    has = [byte for byte in range(256) if byte not in (0x78, 0xC0, 0xFF)]
    single_layer(path, vocabulary=Vocabulary(bytes=has, words=("x",)))
    assert LlamaTokenizer(path).n_vocab


@pytest.mark.parametrize("run", ["a", "Z", "ж", "a1"])
def test_a_forced_run_of_letters_is_split_piece_by_piece(run: str) -> None:
    """The engine splits what a grammar forces; these letters would overflow its stack at once."""
    overrides = override_array([("tokenizer.ggml.pre", "tekken")])  # lives until it is loaded
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    parameters.kv_overrides = overrides
    model = llama_cpp.llama_model_load_from_file(str(DEMO_TARGET).encode(), parameters)
    vocabulary = vocabulary_of_llama(llama_cpp.llama_model_get_vocab(model))
    text = (run * 40_000)[:40_000]
    matcher = create_matcher(compiler.from_gbnf(f'root ::= "{text}"'), vocabulary)
    forced = b"".join(vocabulary.pieces[token] for token in matcher.forced_tokens())
    assert text.encode().startswith(forced)
    assert len(forced) > 39_000
    llama_cpp.llama_model_free(model)
