"""A trigger inside a longer token: what follows it in the token is part of the grammar's text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import llama_cpp
import numpy as np
import pytest

from grammars.constraint import GbnfGrammar, LazyConstraint, LLGuidanceGrammar
from protocol.metadata import override_array
from scheduler.constraint import (
    ConstraintFailed,
    Matcher,
    TokenVocabulary,
    create_matcher,
    vocabulary_of_llama,
)
from tests.support.paths import DEMO_TARGET
from tests.support.piece_vocabulary import vocabulary_of_pieces
from tests.support.tiny_models import Vocabulary, single_layer

BYTES = [bytes([byte]) for byte in range(256)]
WORDS = [
    b"<t",
    b"<tool>",
    b"<tool>{",
    b"<tool>[",
    b'ol>{"',
    b"ol>x",
    b"a<tool>",
    b"<tool>{}",
    b"to",
]
CALL = '"<tool>" "{" ("}" | "\\"" [a-z]* "\\"}")'


@pytest.fixture(scope="module", params=["pieces", "sentencepiece", "bpe"])
def vocabulary(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TokenVocabulary]:
    if request.param == "pieces":
        pieces = [*BYTES, *WORDS, b"<end>"]
        yield vocabulary_of_pieces(pieces, end_tokens={len(pieces) - 1})
        return
    path = DEMO_TARGET
    if request.param == "sentencepiece":
        path = tmp_path_factory.mktemp("models") / "model.gguf"
        single_layer(path, vocabulary=Vocabulary(words=[word.decode() for word in WORDS]))
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    parameters.kv_overrides = override_array(())
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    yield vocabulary_of_llama(llama_cpp.llama_model_get_vocab(model))
    llama_cpp.llama_model_free(model)


def call(*words: str, tokens: Sequence[int] = (), keep: bool = True) -> LazyConstraint:
    """A constraint of a tool call that begins at a word."""
    text = CALL if keep else CALL.removeprefix('"<tool>" ')
    return LazyConstraint(
        LLGuidanceGrammar("start: " + text.replace("[a-z]", "/[a-z]/")), words, tuple(tokens), keep
    )


def is_accepted(constraint: LazyConstraint, vocabulary: TokenVocabulary, text: bytes) -> bool:
    """Whether the text may come after what is free, told byte by byte."""
    matcher = create_matcher(constraint, vocabulary)
    byte_tokens = {piece: token for token, piece in reversed([*enumerate(vocabulary.pieces)])}
    for byte in text:
        token = byte_tokens[bytes([byte])]
        if not matcher.allows(token):
            return False
        matcher.accept(token)
    return True


def fed(matcher: Matcher, vocabulary: TokenVocabulary, text: bytes) -> Matcher:
    for token in vocabulary.tokenize(text):
        matcher.accept(token)
    return matcher


@pytest.mark.parametrize("before", ["", "some ", "<", "<t", "<to", "<tool", "<<tool"])
@pytest.mark.parametrize("keep", [True, False])
def test_tokens_may_come_that_the_grammar_accepts_byte_by_byte(
    vocabulary: TokenVocabulary, before: str, keep: bool
) -> None:
    constraint = call("<tool>", keep=keep)
    matcher = fed(create_matcher(constraint, vocabulary), vocabulary, before.encode())
    allowed = matcher.mask()
    refused = matcher.refused
    assert refused is not None
    assert set(refused) == set(np.flatnonzero(~allowed))
    interesting = [
        token for token, piece in enumerate(vocabulary.pieces) if b">" in piece and len(piece) < 20
    ]
    free = [token for token, piece in enumerate(vocabulary.pieces) if b">" not in piece]
    assert allowed[free].all()
    for token in interesting[:150]:
        text = before.encode() + vocabulary.pieces[token]
        expected = is_accepted(constraint, vocabulary, text)
        assert (matcher.allows(token), bool(allowed[token])) == (expected, expected), text
        if expected:
            fed(create_matcher(constraint, vocabulary), vocabulary, text)
            matcher.clone().accept(token)


def test_a_masked_row_draws_no_refused_token(vocabulary: TokenVocabulary) -> None:
    matcher = fed(create_matcher(call("<tool>"), vocabulary), vocabulary, b"a <tool")
    logits = np.zeros(vocabulary.n_tokens, dtype=np.float32)
    matcher.apply_mask(logits)
    assert set(np.flatnonzero(np.isinf(logits))) == set(matcher.refused or ())
    assert matcher.validate_draft(vocabulary.tokenize(b">{")) == len(vocabulary.tokenize(b">{"))


@pytest.mark.parametrize(
    ("words", "text", "following"),
    [
        (("<tool>",), b"x<tool>{", b'"}'),
        (("<t", "<tool>"), b"<tool>{", b'"}'),
        (("tool>", "<tool>"), b"a <tool>{}", b""),
    ],
)
def test_the_text_after_the_trigger_counts(
    vocabulary: TokenVocabulary, words: tuple[str, ...], text: bytes, following: bytes
) -> None:
    grammar = LLGuidanceGrammar('start: ("<tool>" | "tool>" | "<t" "ool>") "{" ("}" | "\\"")')
    matcher = create_matcher(LazyConstraint(grammar, words), vocabulary)
    fed(matcher, vocabulary, text)
    ends = vocabulary.end_tokens
    first = {vocabulary.pieces[t][:1] for t in np.flatnonzero(matcher.mask()) if t not in ends} - {
        b""
    }
    assert first == {bytes([byte]) for byte in following}


def test_a_grammar_that_refuses_its_trigger_never_begins(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(LazyConstraint(LLGuidanceGrammar('start: "no"'), ("to",)), vocabulary)
    fed(matcher, vocabulary, b"at")
    assert matcher.mask().any()
    refused = {vocabulary.pieces[token] for token in np.flatnonzero(~matcher.mask())}
    assert b"o" in refused
    assert all(piece.startswith(b"o") or b"to" in piece for piece in refused)


def test_llama_cpps_own_grammars(vocabulary: TokenVocabulary) -> None:
    if vocabulary.llama_vocab is None:
        pytest.skip("needs a vocabulary of llama.cpp")
    grammar = GbnfGrammar('root ::= "<tool>" "{" "}"')
    matcher = fed(
        create_matcher(LazyConstraint(grammar, ("<tool>",)), vocabulary), vocabulary, b"<tool"
    )
    for token in matcher.refused or ():
        with pytest.raises(ConstraintFailed):
            matcher.clone().accept(token)


def test_a_trigger_token_may_be_spelled_by_the_grammar() -> None:
    pieces = [*BYTES, b"<call>", b"<end>"]
    control, end = 256, 257
    vocabulary = vocabulary_of_pieces(pieces, special={control}, end_tokens={end})
    for text in ('"<call>" "x"', f'<[{control}]> "x"'):
        matcher = create_matcher(
            LazyConstraint(LLGuidanceGrammar(f"start: {text}"), (), (control,)), vocabulary
        )
        fed(matcher, vocabulary, b"free")
        assert matcher.allows(control)
        matcher.accept(control)
        assert set(np.flatnonzero(matcher.mask())) == {ord("x")}


def test_pieces_are_found() -> None:
    pieces = [b"", b"ab", b"b", b"\xffab", b"xabab", b"a", b"ab", b"\xff"]
    vocabulary = vocabulary_of_pieces([*BYTES, *pieces, b"<end>"], end_tokens={256 + len(pieces)})
    for text in map(
        bytes,
        itertools.chain.from_iterable(itertools.product(b"abx", repeat=size) for size in (1, 2, 3)),
    ):
        everything = [*enumerate(vocabulary.pieces)]
        assert vocabulary.pieces_with(text) == [t for t, piece in everything if text in piece]
        assert sorted(vocabulary.pieces_beginning_with(text)) == [
            t for t, piece in everything if piece.startswith(text)
        ]
