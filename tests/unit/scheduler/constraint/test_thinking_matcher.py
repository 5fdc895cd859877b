"""Thinking is free and ends in time; the text after it follows its constraint."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from grammars import compiler
from grammars.constraint import Constraint, LazyConstraint, LLGuidanceGrammar, ThinkingConstraint
from scheduler.constraint import (
    ConstraintFailed,
    Matcher,
    TokenVocabulary,
    create_matcher,
)
from scheduler.constraint.shortest import UNKNOWN, shortest_length
from scheduler.constraint.thinking_limits import MAX_GAPS
from scheduler.constraint.thinking_matcher import ThinkingMatcher
from tests.support.piece_vocabulary import vocabulary_of_pieces

WORDS = [b"<think>", b"</think>", b"\n\n", b"yes", b"no", b">\n\n", b"think"]
OPEN, CLOSE, GAP, YES, NO, TAIL, THINK = range(256, 256 + len(WORDS))
END, TURN_END = 263, 264
LINE = ord("\n")


@pytest.fixture(scope="module")
def vocabulary() -> TokenVocabulary:
    pieces = [*(bytes([byte]) for byte in range(256)), *WORDS, b"<end>", b"<turn_end>"]
    return vocabulary_of_pieces(pieces, special={OPEN, CLOSE}, end_tokens={END, TURN_END})


def thinking(
    max_tokens: int = -1,
    *,
    is_open: bool = False,
    end: tuple[int, ...] = (CLOSE,),
    constraint: LLGuidanceGrammar | LazyConstraint | None = None,
) -> ThinkingConstraint:
    return ThinkingConstraint(
        opening=() if is_open else (OPEN,),
        closing="</think>",
        end=end,
        max_tokens=max_tokens,
        gaps=(GAP, LINE),
        constraint=constraint,
    )


def choice(*texts: str) -> LLGuidanceGrammar:
    constraint = compiler.from_choices(list(texts))
    assert isinstance(constraint, LLGuidanceGrammar)
    return constraint


YES_NO = choice("yes", "no")


def accepts(vocabulary: TokenVocabulary, constraint: Constraint, *tokens: int) -> bool:
    return create_matcher(constraint, vocabulary).validate_draft(tokens) == len(tokens)


def test_thinking_of_any_length_before_a_constraint(vocabulary: TokenVocabulary) -> None:
    after = thinking(constraint=YES_NO)
    assert accepts(vocabulary, after, OPEN, *b"no <tool>?", CLOSE, YES, END)
    assert accepts(vocabulary, after, OPEN, CLOSE, GAP, NO, END)
    assert accepts(vocabulary, after, OPEN, CLOSE, LINE, LINE, NO, END)
    assert not accepts(vocabulary, after, OPEN, CLOSE, GAP, GAP, GAP)
    assert not accepts(vocabulary, after, OPEN, CLOSE, END)
    assert not accepts(vocabulary, after, OPEN, *b"Hm", END)


def test_an_answer_without_thinking(vocabulary: TokenVocabulary) -> None:
    after = thinking(constraint=YES_NO)
    assert accepts(vocabulary, after, YES, END)
    assert accepts(vocabulary, after, *b"no", TURN_END)
    assert not accepts(vocabulary, after, GAP, YES)
    assert not accepts(vocabulary, after, *b"maybe")
    assert not accepts(vocabulary, after, YES, OPEN)


def test_an_opening_of_several_tokens(vocabulary: TokenVocabulary) -> None:
    """While the text fits both the opening and the constraint, both stay possible."""
    constraint = ThinkingConstraint(
        opening=tuple(b"<think>"),
        closing="</think>",
        end=(CLOSE,),
        constraint=choice("<think", "<a"),
    )
    assert accepts(vocabulary, constraint, *b"<think", END)
    assert accepts(vocabulary, constraint, *b"<think>", *b"Hm", CLOSE, *b"<a", END)
    assert accepts(vocabulary, constraint, *b"<a", END)
    assert not accepts(vocabulary, constraint, *b"<think", *b"x")
    matcher = create_matcher(constraint, vocabulary)
    for token in b"<th":
        matcher.accept(token)
    assert matcher.forced_tokens() == []


def test_thinking_that_is_too_long_is_ended(vocabulary: TokenVocabulary) -> None:
    end = (*b" So", CLOSE)
    matcher = create_matcher(thinking(3, end=end, constraint=YES_NO), vocabulary)
    for token in (OPEN, *b"abc"):
        assert matcher.forced_tokens() == []
        matcher.accept(token)
    assert matcher.forced_tokens() == list(end)
    assert np.flatnonzero(matcher.mask()).tolist() == [end[0]]
    with pytest.raises(ConstraintFailed):
        matcher.accept(ord("d"))
    for token in end:
        matcher.accept(token)
    assert set(np.flatnonzero(matcher.mask())) == {GAP, LINE, YES, NO, ord("y"), ord("n")}


def test_thinking_of_no_tokens(vocabulary: TokenVocabulary) -> None:
    assert create_matcher(thinking(0, is_open=True), vocabulary).forced_tokens() == [CLOSE]
    matcher = create_matcher(thinking(0), vocabulary)
    matcher.accept(OPEN)
    assert matcher.forced_tokens() == [CLOSE]


def test_a_budget_alone_leaves_the_rest_free(vocabulary: TokenVocabulary) -> None:
    budget = thinking(2)
    assert accepts(vocabulary, budget, *b"any text", END)
    assert accepts(vocabulary, budget, OPEN, *b"Hm", CLOSE, *b"any text", END)
    assert accepts(vocabulary, budget, OPEN, END)
    assert not accepts(vocabulary, budget, OPEN, *b"Hmm")
    matcher = create_matcher(budget, vocabulary)
    assert matcher.refused == ()
    assert matcher.mask().all()


def test_a_budget_ends_no_character_and_no_closing(vocabulary: TokenVocabulary) -> None:
    budget = thinking(2, is_open=True)
    assert accepts(vocabulary, budget, *"a€".encode(), CLOSE)
    assert not accepts(vocabulary, budget, *"a€".encode(), ord("b"))
    assert accepts(vocabulary, budget, *b"a</", THINK, ord(">"))
    endless = create_matcher(budget, vocabulary)
    for token in b"a" + b"\xf0" * 9:
        endless.accept(token)
    assert endless.forced_tokens() == [CLOSE]


def test_a_closing_with_white_space_in_its_last_token(vocabulary: TokenVocabulary) -> None:
    after = thinking(constraint=YES_NO, is_open=True)
    assert accepts(vocabulary, after, *b"Hm</", THINK, TAIL, YES, END)


def test_lazy_constraints_wait_until_the_thinking_is_over(vocabulary: TokenVocabulary) -> None:
    lazy = compiler.lazy(choice("<a>1"), words=("<a>",))
    assert isinstance(lazy, LazyConstraint)
    after = thinking(constraint=lazy)
    assert accepts(vocabulary, after, OPEN, *b"<a>2", CLOSE, GAP, *b"text", END)
    assert accepts(vocabulary, after, OPEN, CLOSE, *b"text <a>1", END)
    assert not accepts(vocabulary, after, OPEN, CLOSE, *b"text <a>2")


PATHS = [
    (OPEN, *b"Hm", CLOSE, GAP, YES, END),
    (OPEN, *b"Hm so", CLOSE, LINE, LINE, *b"no", TURN_END),
    (YES, END),
    (*b"no", END),
]


@pytest.mark.parametrize("path", PATHS)
def test_clones_go_their_own_ways(vocabulary: TokenVocabulary, path: tuple[int, ...]) -> None:
    matcher = create_matcher(thinking(5, constraint=YES_NO), vocabulary)
    for position, token in enumerate(path):
        mask = matcher.mask()
        copy = matcher.clone()
        assert np.array_equal(copy.mask(), mask)
        for later in path[position:]:
            copy.accept(later)
        assert not copy.mask().any(), "the answer has ended"
        assert np.array_equal(matcher.mask(), mask)
        matcher.accept(token)


@pytest.mark.parametrize("seed", range(20))
def test_all_ways_to_ask_agree(vocabulary: TokenVocabulary, seed: int) -> None:
    """`allows`, `mask`, `apply_mask` and `refused` agree in every state of an answer."""
    chance = random.Random(seed)
    matcher: Matcher = create_matcher(thinking(4, constraint=YES_NO), vocabulary)
    for _ in range(12):
        mask = matcher.mask()
        assert [matcher.allows(token) for token in range(vocabulary.n_tokens)] == mask.tolist()
        logits = np.zeros(vocabulary.n_tokens, dtype=np.float32)
        matcher.apply_mask(logits)
        assert np.array_equal(np.isfinite(logits), mask)
        if matcher.refused is not None:
            assert set(np.flatnonzero(~mask)) == set(matcher.refused)
        if set(np.flatnonzero(mask)) <= {END, TURN_END}:
            break
        likely = [token for token in (OPEN, CLOSE, GAP, YES) if mask[token]]
        matcher.accept(chance.choice([*likely, *np.flatnonzero(mask).tolist()[:3]]))


CROSSING = [
    b"</think>yes",
    b"</think>\n\nno",
    b"</think>x",
    b"</think>\n",
    b"k>yes",
    b"k>x",
    b">no",
    b">\nmaybe",
    b">\n",
    b"</think>\xe4",
    b"</think>{",
    b'</think>{"',
    b'>\n{"na',
    b"<think></think>yes",
    b"<think></think>x",
    b"<think>\n",
    b"ink>\n</think>no",
    b"ink>so</think>[",
    b"</think><a>1",
    b"</think><a>2",
    b"></think><a>3",
]
"""Tokens that begin or end thinking, and go on."""


@pytest.fixture(scope="module")
def crossing() -> TokenVocabulary:
    pieces = [*(bytes([byte]) for byte in range(256)), *WORDS, b"<end>", b"<turn_end>", *CROSSING]
    return vocabulary_of_pieces(pieces, special={OPEN, CLOSE}, end_tokens={END, TURN_END})


def crossing_token(piece: bytes) -> int:
    return TURN_END + 1 + CROSSING.index(piece)


WHOLE = [
    b"</think>yes",
    b"</think>\n\nno",
    b"</think>\n",
    b"<think></think>yes",
    b"ink>\n</think>no",
]
"""Those that end thinking whatever stands before them, and go on with a part of yes or no."""


@pytest.mark.parametrize(
    ("before", "partly"),
    [(b"Hm", []), (b"Hm</thin", [b"k>yes"]), (b"Hm</think", [b">no", b">\n"])],
)
def test_a_token_that_ends_the_thinking_goes_on_as_the_constraint_says(
    crossing: TokenVocabulary, before: bytes, partly: list[bytes]
) -> None:
    matcher = create_matcher(thinking(constraint=YES_NO), crossing)
    for token in (OPEN, *before):
        matcher.accept(token)
    ends = [piece for piece in CROSSING if b"</think>" in before + piece]
    allowed = [piece for piece in ends if matcher.allows(crossing_token(piece))]
    assert sorted(allowed) == sorted([*WHOLE, *partly])


AFTER_THINKING: list[Any] = [
    YES_NO,
    compiler.from_json_schema(
        {"type": "object", "properties": {"name": {"const": "a"}}, "required": ["name"]}
    ),
    compiler.lazy(choice("<a>1"), words=("<a>",)),
]


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("constraint", AFTER_THINKING)
@pytest.mark.parametrize("seed", range(15))
def test_what_is_allowed_is_accepted_wherever_tokens_cross(
    crossing: TokenVocabulary,
    seed: int,
    constraint: LLGuidanceGrammar | LazyConstraint,
    is_open: bool,
) -> None:
    chance = random.Random(seed)
    matcher = create_matcher(thinking(6, is_open=is_open, constraint=constraint), crossing)
    after = create_matcher(constraint, crossing)
    text = b"<think>" if is_open else b""
    for _ in range(14):
        mask = matcher.mask()
        tokens = np.flatnonzero(mask).tolist()
        assert [matcher.allows(token) for token in range(len(mask))] == mask.tolist()
        for token in tokens:
            matcher.clone().accept(token)
        longer = [token for token in tokens if token > TURN_END]
        token = chance.choice(longer if longer and chance.random() < 0.4 else tokens)
        matcher.accept(token)
        if token in (END, TURN_END):
            break
        text += crossing.pieces[token]
    thought, closing, answer = text.partition(b"</think>")
    if closing and thought.lstrip().startswith(b"<think>"):
        assert follows(after, crossing, answer.lstrip())


def follows(matcher: Matcher, vocabulary: TokenVocabulary, text: bytes) -> bool:
    """Whether a constraint allows a text, told byte by byte."""
    for byte in text:
        matcher.accept(byte)
    return True


def schema(value: object) -> LLGuidanceGrammar:
    constraint = compiler.from_json_schema(value)
    assert isinstance(constraint, LLGuidanceGrammar)
    return constraint


NAME = schema({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
CODES = schema({"type": "array", "items": {"type": "integer"}, "minItems": 3})


def thinking_tokens(vocabulary: TokenVocabulary, constraint: ThinkingConstraint) -> int:
    """How many tokens a model that never ends its thinking can think."""
    matcher = create_matcher(constraint, vocabulary)
    count = 0
    if constraint.opening:
        matcher.accept(OPEN)
    while not matcher.forced_tokens() and matcher.allows(ord("l")):
        matcher.accept(ord("l"))
        count += 1
        assert count < 10_000
    return count


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("room", [80, 100, 300, 2000])
@pytest.mark.parametrize(
    ("required", "shortest"), [(YES_NO, 1), (choice("a" * 20), 20), (NAME, 12), (CODES, 9)]
)
def test_thinking_leaves_room_for_what_is_required(
    vocabulary: TokenVocabulary,
    required: LLGuidanceGrammar,
    shortest: int,
    room: int,
    is_open: bool,
) -> None:
    end = (*b"So: ", CLOSE)
    after = thinking(is_open=is_open, end=end, constraint=required)
    after = msgspec.structs.replace(after, room=room)
    used = thinking_tokens(vocabulary, after) + len(end) + (not is_open)
    assert used + MAX_GAPS + 2 * shortest <= room, "models write more than the shortest answer"
    assert room < 300 or used >= room // 2, "the thinking gets the larger part"


@pytest.mark.parametrize("room", range(1, 40))
def test_a_small_room_is_for_the_answer(vocabulary: TokenVocabulary, room: int) -> None:
    """Where thinking does not fit, its marks come only if the answer still fits behind them."""
    after = msgspec.structs.replace(thinking(constraint=choice("a" * 20)), room=room)
    matcher = create_matcher(after, vocabulary)
    if room < 22:
        assert not matcher.allows(OPEN)
        assert matcher.allows(ord("a"))
        return
    matcher.accept(OPEN)
    assert matcher.forced_tokens() == [CLOSE]
    matcher.accept(CLOSE)
    assert not matcher.allows(GAP)
    assert matcher.allows(ord("a"))
    # Thinking that the prompt has opened can only be closed.
    opened = msgspec.structs.replace(after, opening=())
    assert create_matcher(opened, vocabulary).forced_tokens() == [CLOSE]


@pytest.mark.parametrize(
    "free",
    [
        None,
        compiler.lazy(choice("<a>1"), words=("<a>",)),
        compiler.from_lark("start: /a*/"),
    ],
)
def test_where_nothing_is_required_thinking_may_fill_the_room(
    vocabulary: TokenVocabulary, free: LLGuidanceGrammar | LazyConstraint | None
) -> None:
    after = msgspec.structs.replace(thinking(constraint=free), room=20)
    assert accepts(vocabulary, after, OPEN, *b"l" * 100)


def test_a_budget_counts_if_it_is_smaller_than_the_room(vocabulary: TokenVocabulary) -> None:
    after = msgspec.structs.replace(thinking(3, constraint=YES_NO), room=1000)
    assert thinking_tokens(vocabulary, after) == 3


@pytest.mark.parametrize(
    ("value", "longest"),
    [
        ({"type": "string"}, 2),
        ({"type": "object"}, 2),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, 8),
        ({"enum": ["yes", "maybe"]}, 7),
        ({"type": "string", "minLength": 5}, 7),
        ({"type": "string", "pattern": "^[0-9]{5}$"}, 7),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, 9),
        ({"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}}, 4),
        ({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}, 8),
    ],
)
def test_the_estimate_of_a_short_answer(
    vocabulary: TokenVocabulary, value: object, longest: int
) -> None:
    assert 0 < shortest_length(create_matcher(schema(value), vocabulary), vocabulary) <= longest


@pytest.mark.parametrize("definition", ['"abc"', "/[a-z]{9}/", '/[a-z ]{300}/ "."'])
def test_the_estimate_has_a_bound_of_time(
    vocabulary: TokenVocabulary, definition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.constraint.shortest.MAX_SECONDS", -1.0)
    slow = compiler.from_lark(f"start: {definition}")
    assert shortest_length(create_matcher(slow, vocabulary), vocabulary) == UNKNOWN


def test_the_estimate_gives_up_in_time(vocabulary: TokenVocabulary) -> None:
    endless = compiler.from_lark('start: /[a-z ]{5000}/ "."')
    assert shortest_length(create_matcher(endless, vocabulary), vocabulary) >= UNKNOWN


@pytest.mark.parametrize(
    ("before", "rest"),
    [
        ([*b"Hm"], []),
        ([], []),
        # Never inside a character, nor inside the closing itself.
        ([*"Hé".encode()[:2]], ["é".encode()[-1]]),
        ([*b"Hm</th"], [*b"ink>"]),
    ],
)
@pytest.mark.parametrize("end", [(CLOSE,), (*b"Enough.", CLOSE)])
def test_thinking_is_ended_from_outside(
    vocabulary: TokenVocabulary, before: list[int], rest: list[int], end: tuple[int, ...]
) -> None:
    matcher = create_matcher(thinking(is_open=True, end=end, constraint=YES_NO), vocabulary)
    assert isinstance(matcher, ThinkingMatcher)
    for token in before:
        matcher.accept(token)
    copy = matcher.clone()
    assert matcher.end_thinking() == len(before)
    for token in rest:
        assert matcher.allows(token)
        matcher.accept(token)
    if rest != [*b"ink>"]:
        assert matcher.forced_tokens() == [*end]
        for token in end:
            matcher.accept(token)
    assert matcher.allows(YES)
    assert not matcher.allows(THINK)
    assert matcher.end_thinking() is None
    assert copy.allows(THINK)


def test_only_thinking_can_be_ended(vocabulary: TokenVocabulary) -> None:
    for constraint, tokens in [(None, [OPEN, CLOSE]), (YES_NO, [YES]), (YES_NO, []), (None, [NO])]:
        matcher = create_matcher(thinking(constraint=constraint), vocabulary)
        assert isinstance(matcher, ThinkingMatcher)
        for token in tokens:
            matcher.accept(token)
        assert matcher.end_thinking() is None
