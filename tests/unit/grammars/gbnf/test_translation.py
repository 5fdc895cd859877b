"""The translation for llguidance compared with llama.cpp's own sampler, token by token."""

from __future__ import annotations

import contextlib
import random

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from grammars.constraint import GbnfGrammar, LLGuidanceGrammar
from grammars.errors import GrammarError
from grammars.gbnf.lark import check, to_lark
from grammars.gbnf.llama import refuse_for_llama
from grammars.gbnf.parser import parse
from scheduler.constraint import ConstraintTooComplex, TokenVocabulary, create_matcher

ATOMS = [
    '"a"', '"ab"', '"b"', '"abc"', '" "', '"é"', '"\\n"', '"{"', '"the"', '""',
    "[a-c]", "[^a]", "[^\\n]", "[a-zé]", "[0-9]", ".", "[ \\t]",
]  # fmt: skip
RULES = ["root", "x", "y", "z"]
REPEATS = ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"]


@st.composite
def bodies(draw: st.DrawFn, depth: int = 2) -> str:
    """The right side of a rule."""
    if depth == 0:
        return draw(st.sampled_from(ATOMS + RULES))
    kind = draw(st.sampled_from(["atom", "sequence", "choice", "repeat", "optional-tail"]))
    below = bodies(depth=depth - 1)
    if kind == "atom":
        return draw(st.sampled_from(ATOMS + RULES))
    if kind == "sequence":
        return " ".join(draw(st.lists(below, min_size=2, max_size=3)))
    if kind == "choice":
        return f"({' | '.join(draw(st.lists(below, min_size=2, max_size=3)))})"
    if kind == "repeat":
        return f"({draw(below)}){draw(st.sampled_from(REPEATS))}"
    return f"({draw(below)} {draw(st.sampled_from(RULES))})?"


grammars = st.tuples(*[bodies() for _ in RULES]).map(
    lambda parts: "\n".join(f"{name} ::= {part}" for name, part in zip(RULES, parts, strict=True))
)


def comparable(vocabulary: TokenVocabulary) -> np.ndarray:
    """Tokens that both engines must agree on: tokens of whole characters, and end tokens.

    llama.cpp takes any bytes that are shaped like UTF-8, and matches control tokens by their
    spelling. llguidance does neither.
    """
    return np.array(
        [
            token in vocabulary.end_tokens
            or (is_text(piece) and not (piece.startswith(b"<") and piece.endswith(b">")))
            for token, piece in enumerate(vocabulary.pieces)
        ]
    )


def is_text(piece: bytes) -> bool:
    try:
        return "\0" not in piece.decode()
    except UnicodeDecodeError:
        return False


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=grammars, seed=st.integers(0, 1 << 16))
def test_masks_are_those_of_llama(text: str, seed: int, demo_vocabulary: TokenVocabulary) -> None:
    grammar = parse(text)
    try:
        check(grammar)
        refuse_for_llama(grammar)
    except GrammarError:
        assume(False)
    with contextlib.suppress(ConstraintTooComplex):  # a client would be told
        assert_same_masks(text, to_lark(grammar, None), demo_vocabulary, random.Random(seed))


def assert_same_masks(
    text: str, lark: str, vocabulary: TokenVocabulary, rng: random.Random
) -> None:
    """Walk through a random text of the grammar and compare the tokens that may come next."""
    ours = create_matcher(LLGuidanceGrammar(lark), vocabulary)
    theirs = create_matcher(GbnfGrammar(text), vocabulary)
    tokens = comparable(vocabulary)
    short = np.array([len(piece) < 3 for piece in vocabulary.pieces])
    walked: list[int] = []
    for _ in range(6):
        forced = ours.forced_tokens()
        mask = ours.mask()
        expected = theirs.mask()
        if not forced:  # forced text allows only the canonical token in ours
            wrong = np.flatnonzero((mask != expected) & tokens)
            spelled = b"".join(vocabulary.pieces[token] for token in walked)
            pieces = [vocabulary.pieces[token] for token in wrong[:5]]
            assert not len(wrong), f"{text}\n{lark}\nafter {spelled!r}: {pieces} {expected[wrong]}"
        # Only short texts: llama.cpp takes exponential time in the characters of an ambiguous
        # grammar.
        allowed = np.flatnonzero(mask & tokens & short)
        if not len(allowed):  # half a character
            allowed = np.flatnonzero(mask & expected)
        if not len(allowed):
            return
        token = int(rng.choice(allowed))
        if token in vocabulary.end_tokens:
            return
        assert theirs.allows(token)
        assert ours.allows(token)
        ours.accept(token)
        theirs.accept(token)
        walked.append(token)
