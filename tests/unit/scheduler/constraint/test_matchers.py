"""Matchers say which tokens may come next."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import llama_cpp
import numpy as np
import pytest

from confined.fair_thread import PAUSE_SECONDS
from grammars import compiler
from grammars.constraint import (
    Constraint,
    GbnfGrammar,
    LazyConstraint,
    LLGuidanceGrammar,
    ThinkingConstraint,
)
from scheduler.constraint import (
    ConstraintCompiler,
    ConstraintFailed,
    DeferredVocabulary,
    Matcher,
    TokenVocabulary,
    create_matcher,
    vocabulary_of_llama,
)
from scheduler.constraint.prototypes import LARGE_CHARS, MAX_CHARS, MAX_PROTOTYPES
from scheduler.native.free_memory import give_memory_back
from tests.support.paths import DEMO_TARGET
from tests.support.piece_vocabulary import vocabulary_of_pieces

WORDS = [b"yes", b"no", b"maybe", b"{", b'"name": "', b'"}', b'"', b"an", b"ban", b"ana", b"na"]
BYTES = [bytes([byte]) for byte in range(256)]
END, TURN_END, CONTROL = 256 + len(WORDS), 257 + len(WORDS), 258 + len(WORDS)

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


SILENT = llama_cpp.llama_log_callback(lambda *_: None)
"""llama.cpp keeps the pointer for good, so the callback must not be collected."""


@pytest.fixture(scope="module")
def vocabulary() -> TokenVocabulary:
    """All bytes, some words, two tokens that end an answer, and a control token."""
    pieces = [*BYTES, *WORDS, b"<end>", b"<turn_end>", b"<control>"]
    return vocabulary_of_pieces(pieces, special={CONTROL}, end_tokens={END, TURN_END})


@pytest.fixture(scope="module")
def llama_vocab() -> Iterator[int]:
    """The address of the demo model's vocabulary."""
    path = DEMO_TARGET
    if not path.exists():
        pytest.skip("the demo model has not been built")
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(SILENT, None)
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    yield llama_cpp.llama_model_get_vocab(model)
    llama_cpp.llama_model_free(model)


@pytest.fixture(scope="module")
def demo(llama_vocab: int) -> TokenVocabulary:
    return vocabulary_of_llama(llama_vocab)


def word(piece: bytes) -> int:
    return 256 + WORDS.index(piece)


def feed(matcher: Matcher, vocabulary: TokenVocabulary, text: str) -> None:
    for token in vocabulary.tokenize(text.encode()):
        matcher.accept(token)


def allowed(matcher: Matcher) -> set[int]:
    return set(np.flatnonzero(matcher.mask()).tolist())


def can_only_end(matcher: Matcher, vocabulary: TokenVocabulary) -> bool:
    return allowed(matcher) <= vocabulary.end_tokens


def test_mask_names_all_that_may_come_next(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_choices(["yes", "no"]), vocabulary)
    assert allowed(matcher) == {ord("y"), ord("n"), word(b"yes"), word(b"no")}
    assert all(
        matcher.allows(token) == matcher.mask()[token] for token in range(vocabulary.n_tokens)
    )


def test_all_end_tokens_are_allowed_exactly_where_the_answer_may_end(
    vocabulary: TokenVocabulary,
) -> None:
    matcher = create_matcher(compiler.from_regex("(an)+"), vocabulary)
    assert not matcher.allows(END)
    assert not matcher.allows(TURN_END)
    matcher.accept(word(b"an"))
    assert {END, TURN_END} < allowed(matcher)
    matcher.accept(TURN_END)
    assert allowed(matcher) == set()
    assert not matcher.allows(END)


def test_a_complete_answer_can_only_end(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_choices(["yes"]), vocabulary)
    matcher.accept(word(b"yes"))
    assert allowed(matcher) == {END, TURN_END}
    assert matcher.forced_tokens() == []


def test_apply_mask_keeps_allowed_logits_and_sets_the_others_to_minus_infinity(
    vocabulary: TokenVocabulary,
) -> None:
    matcher = create_matcher(compiler.from_choices(["yes", "no"]), vocabulary)
    before = np.random.default_rng(0).standard_normal(vocabulary.n_tokens, dtype=np.float32)
    logits = before.copy()
    matcher.apply_mask(logits)
    mask = matcher.mask()
    assert (logits[mask] == before[mask]).all()
    assert (logits[~mask] == -np.inf).all()


def test_accepting_what_is_not_allowed_fails(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_choices(["yes"]), vocabulary)
    with pytest.raises(ConstraintFailed, match="not allowed"):
        matcher.accept(word(b"no"))
    with pytest.raises(ConstraintFailed, match="not allowed"):
        matcher.accept(END)


def test_forced_text_is_tokenized_as_the_tokenizer_would(demo: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_json_schema(SCHEMA), demo)
    forced = matcher.forced_tokens()
    spelled = b"".join(demo.pieces[token] for token in forced).decode()
    assert '{"name": "'.startswith(spelled)
    assert len(spelled) >= len('{"name')
    assert demo.tokenize(b'{"name": "x"')[: len(forced)] == forced
    assert matcher.allows(forced[0])
    assert allowed(matcher) == {forced[0]}
    for token in forced:
        matcher.accept(token)


def test_jumping_forward_to_the_end_gives_canonical_tokens(demo: TokenVocabulary) -> None:
    text = '{"kind": "order", "version": 2}'
    schema = {"const": json.loads(text)}
    matcher = create_matcher(compiler.from_json_schema(schema), demo)
    tokens: list[int] = []
    while not can_only_end(matcher, demo):
        step = matcher.forced_tokens() or [min(allowed(matcher) - demo.end_tokens)]
        for token in step:
            matcher.accept(token)
        tokens += step
    assert b"".join(demo.pieces[token] for token in tokens).decode() == text
    assert tokens == demo.tokenize(text.encode())


def test_drafts_are_cut_where_they_leave_the_grammar(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_regex("(an)+"), vocabulary)
    an, yes = word(b"an"), word(b"yes")
    assert matcher.validate_draft([]) == 0
    assert matcher.validate_draft([an, an, yes, an]) == 2
    assert matcher.validate_draft([an, END]) == 2
    assert matcher.validate_draft([an, TURN_END, an]) == 2
    assert matcher.validate_draft([END]) == 0
    assert matcher.validate_draft([an, ord("a"), END]) == 2
    assert not matcher.allows(END), "validating has no effect"


def test_clones_go_their_own_ways(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_choices(["yes", "no"]), vocabulary)
    copy = matcher.clone()
    copy.accept(word(b"no"))
    assert can_only_end(copy, vocabulary)
    assert matcher.allows(word(b"yes"))


def test_control_tokens_match_no_text(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_regex(".*"), vocabulary)
    assert not matcher.allows(CONTROL)
    assert CONTROL not in allowed(matcher)


def test_a_control_token_can_be_named_by_id(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(compiler.from_lark(f'start: <[{CONTROL}]> "yes"'), vocabulary)
    assert matcher.forced_tokens()[:1] == [CONTROL]
    matcher.accept(CONTROL)
    matcher.accept(word(b"yes"))
    assert can_only_end(matcher, vocabulary)


def test_a_grammar_that_cannot_be_built_fails(vocabulary: TokenVocabulary) -> None:
    with pytest.raises(ConstraintFailed, match="unknown name"):
        create_matcher(LLGuidanceGrammar("start: nothing"), vocabulary)


def test_an_answer_that_no_token_continues_fails() -> None:
    pieces = vocabulary_of_pieces([b"a", b"b", b"<end>"], end_tokens={2})
    matcher = create_matcher(LLGuidanceGrammar('start: "a" /[cd]/'), pieces)
    matcher.accept(0)
    with pytest.raises(ConstraintFailed):
        matcher.mask()


def lazy(*, words: tuple[str, ...] = (), tokens: tuple[int, ...] = (), keep: bool) -> Constraint:
    text = 'start: "yes" "no"' if keep else 'start: "no"'
    return LazyConstraint(LLGuidanceGrammar(text), words, tokens, keep_trigger=keep)


@pytest.mark.parametrize("keep", [True, False])
def test_lazy_constraints_begin_at_a_word(vocabulary: TokenVocabulary, keep: bool) -> None:
    matcher = create_matcher(lazy(words=("yes",), keep=keep), vocabulary)
    assert matcher.mask().all()
    feed(matcher, vocabulary, "maybe, ban y")
    assert matcher.allows(END)
    assert matcher.forced_tokens() == []
    for byte in b"es":
        matcher.accept(byte)
    assert allowed(matcher) == {word(b"no")}
    matcher.accept(word(b"no"))
    assert can_only_end(matcher, vocabulary)


def test_text_after_the_trigger_in_the_same_token_counts(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(lazy(words=("y",), keep=True), vocabulary)
    matcher.accept(word(b"yes"))
    assert allowed(matcher) == {word(b"no")}


def test_lazy_constraints_begin_at_a_token(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(lazy(tokens=(CONTROL,), keep=False), vocabulary)
    feed(matcher, vocabulary, "yes")
    matcher.accept(CONTROL)
    assert allowed(matcher) == {word(b"no")}


def test_drafts_may_go_over_the_trigger(vocabulary: TokenVocabulary) -> None:
    matcher = create_matcher(lazy(words=("yes",), keep=True), vocabulary)
    feed(matcher, vocabulary, "ban ye")
    assert matcher.mask().all()
    assert matcher.validate_draft([ord("s"), word(b"no"), ord("x")]) == 2
    copy = matcher.clone()
    copy.accept(ord("s"))
    assert allowed(copy) == {word(b"no")}
    assert matcher.mask().all()


def test_lazy_constraints_fail_early(vocabulary: TokenVocabulary) -> None:
    with pytest.raises(ConstraintFailed):
        create_matcher(LazyConstraint(LLGuidanceGrammar("start: x"), ("a",)), vocabulary)


def test_gbnf_needs_a_vocabulary_of_llama(vocabulary: TokenVocabulary) -> None:
    with pytest.raises(ConstraintFailed, match=r"vocabulary of llama\.cpp"):
        create_matcher(GbnfGrammar('root ::= "a"'), vocabulary)


def test_gbnf_by_llama(demo: TokenVocabulary) -> None:
    matcher = create_matcher(GbnfGrammar('root ::= "a" [0-9]+'), demo)
    feed(matcher, demo, "a1")
    copy = matcher.clone()
    digit = demo.tokenize(b"2")[0]
    assert matcher.validate_draft([digit, digit, *demo.tokenize(b"x")]) == 2
    assert demo.end_tokens < allowed(matcher)
    with pytest.raises(ConstraintFailed, match="not allowed"):
        matcher.accept(demo.tokenize(b"x")[0])
    copy.accept(min(demo.end_tokens))
    assert allowed(copy) == set()


def test_gbnf_that_llama_refuses_fails(demo: TokenVocabulary) -> None:
    with pytest.raises(ConstraintFailed, match="refuses"):
        create_matcher(GbnfGrammar("root ::= x"), demo)


@pytest.mark.parametrize(
    ("size", "count", "kept"),
    [
        (10, 40, MAX_PROTOTYPES),
        (MAX_CHARS // 8, 12, 7),
        (MAX_CHARS // 3, 6, 2),
        (MAX_CHARS + 1, 3, 1),
    ],
)
def test_known_constraints_are_bounded_by_number_and_size(
    llama_vocab: int, size: int, count: int, kept: int, built: list[Constraint]
) -> None:
    constraints = ConstraintCompiler(llama_vocab)
    known = [LLGuidanceGrammar(f'start: "a"\n// {i:05}{"x" * size}') for i in range(count)]
    for constraint in known:
        constraints.matcher(constraint)
    assert built == known
    for constraint in known[-kept:]:
        assert constraints.prepare(constraint).done()
    assert built == known
    forgotten = known[-kept - 1]
    constraints.prepare(forgotten).result()
    assert built == [*known, forgotten]
    constraints.close()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Constraint]:
    """The constraints whose matchers are built."""
    found: list[Constraint] = []

    def create(constraint: Constraint, vocabulary: TokenVocabulary) -> Matcher:
        found.append(constraint)
        return create_matcher(constraint, vocabulary)

    monkeypatch.setattr("scheduler.constraint.compiler.create_matcher", create)
    return found


class Stopped:
    """Holds the building of constraints up until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[Constraint] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()
        monkeypatch.setattr("scheduler.constraint.compiler.create_matcher", self._create)

    def _create(self, constraint: Constraint, vocabulary: TokenVocabulary) -> Matcher:
        self.begun.set()
        self.go_on.wait(30)
        self.order.append(constraint)
        return create_matcher(constraint, vocabulary)


def numbered(number: int, size: int = 10) -> LLGuidanceGrammar:
    return LLGuidanceGrammar(f'start: "a"\n// {number:05}{"x" * size}')


@pytest.mark.parametrize("size", [10, LARGE_CHARS, 2 * LARGE_CHARS])
def test_owners_take_turns_in_building(
    llama_vocab: int, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    stopped, constraints = Stopped(monkeypatch), ConstraintCompiler(llama_vocab)
    flood = [numbered(number, size) for number in range(9)]
    futures = [constraints.prepare(constraint, "flood") for constraint in flood]
    other = numbered(100, size)
    futures.append(constraints.prepare(other, "other"))
    stopped.go_on.set()
    for future in futures:
        future.result(30)
    assert other in stopped.order[:3]
    constraints.close()


@pytest.mark.parametrize("num_large", [1, 5, 40])
def test_a_small_constraint_never_waits_for_large_ones(
    llama_vocab: int, monkeypatch: pytest.MonkeyPatch, num_large: int
) -> None:
    stopped, constraints = Stopped(monkeypatch), ConstraintCompiler(llama_vocab)
    large = [constraints.prepare(numbered(n, LARGE_CHARS)) for n in range(num_large)]
    assert stopped.begun.wait(30)
    monkeypatch.setattr("scheduler.constraint.compiler.create_matcher", create_matcher)
    assert allowed(constraints.prepare(numbered(100)).result(30))
    assert not any(future.done() for future in large)
    stopped.go_on.set()
    constraints.close()


@pytest.mark.parametrize(
    ("size", "most"), [(MAX_CHARS // 4, 4), (MAX_CHARS // 2, 2), (MAX_CHARS, 1)]
)
def test_large_constraints_in_use_are_bounded_together(
    llama_vocab: int, built: list[Constraint], size: int, most: int
) -> None:
    constraints = ConstraintCompiler(llama_vocab)
    left = [constraints.prepare(numbered(number, size)) for number in range(7)]
    assert constraints.prepare(numbered(200)).result(30), "small ones need no room"
    while left:
        expected = min(most, len(left))
        while sum(future.done() for future in left) < expected:
            time.sleep(0.001)
        time.sleep(5 * PAUSE_SECONDS)
        assert sum(future.done() for future in left) == expected
        left = [future for future in left if not future.done()]
    assert len(built) == 8
    constraints.close()


@pytest.mark.parametrize("num_users", [1, 3])
def test_all_users_of_a_large_constraint_share_its_memory(
    llama_vocab: int, built: list[Constraint], num_users: int
) -> None:
    constraints = ConstraintCompiler(llama_vocab)
    users = [constraints.prepare(numbered(1, MAX_CHARS)).result(30) for _ in range(num_users)]
    thinking = ThinkingConstraint((1,), "</think>", (2,), constraint=numbered(1, MAX_CHARS))
    users.append(constraints.prepare(thinking).result(30))
    waiting = constraints.prepare(numbered(2, MAX_CHARS))
    while users:
        assert not waiting.done()
        users.pop()
    assert waiting.result(30)
    assert built == [numbered(1, MAX_CHARS), numbered(2, MAX_CHARS)]
    constraints.close()


@pytest.mark.parametrize("cancelled", [[3], [1, 2, 3, 4], [2, 4]])
def test_a_constraint_that_nobody_waits_for_is_not_built(
    llama_vocab: int, monkeypatch: pytest.MonkeyPatch, cancelled: list[int]
) -> None:
    stopped, constraints = Stopped(monkeypatch), ConstraintCompiler(llama_vocab)
    futures = [constraints.prepare(numbered(number)) for number in range(6)]
    for number in cancelled:
        assert futures[number].cancel()
    stopped.go_on.set()
    for number in set(range(6)) - set(cancelled):
        futures[number].result(30)
    assert stopped.order == [numbered(n) for n in range(6) if n not in cancelled]
    constraints.close()


def test_the_compiler_copies_matchers_of_known_constraints(llama_vocab: int) -> None:
    constraints = ConstraintCompiler(llama_vocab)
    constraints.start()
    first = constraints.matcher(compiler.from_choices(["yes", "no"]))
    first.accept(first.forced_tokens()[0] if first.forced_tokens() else min(allowed(first)))
    second = constraints.matcher(compiler.from_choices(["yes", "no"]))
    assert allowed(first) != allowed(second)
    assert constraints.prepare(compiler.from_choices(["yes", "no"])).done()
    other = constraints.prepare(compiler.from_choices(["maybe"]))
    assert allowed(other.result()) != allowed(second)
    wrong = constraints.prepare(LLGuidanceGrammar("start: x"))
    with pytest.raises(ConstraintFailed):
        wrong.result()


def test_a_deferred_vocabulary_is_built_once() -> None:
    threads = []

    def build() -> TokenVocabulary:
        threads.append(threading.current_thread())
        return vocabulary_of_pieces([b"a", b"<end>"], end_tokens={1})

    deferred = DeferredVocabulary(build)
    deferred.start()
    assert deferred.get() is deferred.get()
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_a_vocabulary_that_cannot_be_built_fails_on_use() -> None:
    def build() -> TokenVocabulary:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        DeferredVocabulary(build).get()


def test_sampling_first_gives_the_distribution_of_masking_always(
    vocabulary: TokenVocabulary,
) -> None:
    """Draw, and after a refusal draw from the masked logits; compare by Pearson's chi-squared."""
    rng = np.random.default_rng(1)
    matcher = create_matcher(compiler.from_regex("[a-hxy]+|yes"), vocabulary)
    logits = rng.normal(0, 2, vocabulary.n_tokens).astype(np.float32)
    masked = logits.copy()
    matcher.apply_mask(masked)
    mask = matcher.mask()
    free, constrained = probabilities(logits), probabilities(masked)
    assert 0.01 < free[mask].sum() < 0.5, "most draws are refused"

    n_draws = 50_000
    first = rng.choice(vocabulary.n_tokens, n_draws, p=free)
    again = rng.choice(vocabulary.n_tokens, n_draws, p=constrained)
    drawn = [a if matcher.allows(int(a)) else b for a, b in zip(first, again, strict=True)]

    expected = n_draws * constrained[mask]
    counts = np.bincount(drawn, minlength=vocabulary.n_tokens)
    assert counts[~mask].sum() == 0
    chi_squared = ((counts[mask] - expected) ** 2 / expected).sum()
    degrees = mask.sum() - 1
    assert chi_squared < degrees + 4 * np.sqrt(2 * degrees)  # exceeded once in some 10,000 times


def probabilities(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    shares: np.ndarray = weights / weights.sum()
    return shares


@pytest.mark.parametrize(
    ("sizes", "busy", "idle"),
    [
        ([10] * 40, 0, 0),
        ([MAX_CHARS // 2] * 2, 0, 1),
        ([MAX_CHARS // 2] * 8, 3, 1),
        ([MAX_CHARS] * 4, 3, 0),
    ],
)
def test_the_memory_of_large_constraints_is_given_back(
    llama_vocab: int, monkeypatch: pytest.MonkeyPatch, sizes: list[int], busy: int, idle: int
) -> None:
    """In a few goes while constraints are built, and when there is nothing to do."""
    given_back: list[int] = []
    monkeypatch.setattr(
        "scheduler.constraint.compiler.give_memory_back", lambda: given_back.append(1)
    )
    constraints = ConstraintCompiler(llama_vocab)
    for number, size in enumerate(sizes):
        constraints.prepare(numbered(number, size)).result(30)
    assert len(given_back) == busy
    constraints.give_memory_back()
    constraints.give_memory_back()
    assert len(given_back) == busy + idle
    constraints.close()


def test_freed_memory_goes_back_to_the_system() -> None:
    give_memory_back()
