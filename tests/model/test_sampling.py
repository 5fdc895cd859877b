"""llama.cpp's samplers on logits that the tests choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp as lib

from grammars.constraint import (
    Constraint,
    GbnfGrammar,
    LazyConstraint,
    LLGuidanceGrammar,
    ThinkingConstraint,
)
from protocol.sampling import SamplingParams
from scheduler.backends.base import SamplerError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.sampler import LlamaSampler, build_chain
from scheduler.constraint import ConstraintFailed, vocabulary_of_llama
from scheduler.constraint.llguidance_matcher import LLGuidanceMatcher
from scheduler.core.results import Sample
from scheduler.core.sampler import HELD
from tests.support.backends import chunk, make_backend, softmax
from tests.support.requests import add_request
from tests.support.sampler_cases import SAMPLER_CASES

A, B, C, D = 400, 401, 402, 403


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = make_backend(n_slots=1)
    backend.decode([chunk([A], 0)])
    yield backend
    backend.close()


SetLogits = Callable[[dict[int, float]], Logits]


@pytest.fixture
def peaks(backend: LlamaBackend) -> SetLogits:
    """Give some tokens these logits, and all other tokens very low ones."""

    def set_logits(values: dict[int, float]) -> Logits:
        row = backend.context.row(0)
        row[:] = -40.0
        for token, logit in values.items():
            row[token] = logit
        return row

    return set_logits


@pytest.fixture
def noise(backend: LlamaBackend) -> Logits:
    """A row with a few hundred likely tokens."""
    row = backend.context.row(0)
    row[:] = np.random.default_rng(1).normal(0.0, 2.5, len(row))
    return row


def sample_now(sampler: LlamaSampler, row: int = 0) -> Sample:
    """Sample, after a replay and a mask if they are needed."""
    while sampler.is_replaying:
        sampler.replay()
    sample = sampler.sample(row)
    if sample is None:
        sampler.prepare()
        sample = sampler.sample(row)
    assert sample is not None
    return sample


def draw(
    backend: LlamaBackend,
    count: int,
    *,
    prompt: tuple[int, ...] = (A,),
    resumed: tuple[int, ...] = (),
    **fields: Any,
) -> list[int]:
    """Tokens that one sampler draws from the row."""
    submit = add_request(
        request_id=1,
        prompt=list(prompt),
        resumed=list(resumed),
        sampling=SamplingParams(**fields),
    )
    sampler = backend.sampler(submit)
    tokens = [sample_now(sampler).token for _ in range(count)]
    sampler.close()
    return tokens


SAMPLERS: dict[str, dict[str, Any]] = {
    **SAMPLER_CASES,
    "infill": {"samplers": ("top_k", "infill")},
}
everything = pytest.mark.parametrize("fields", SAMPLERS.values(), ids=SAMPLERS)


@everything
def test_the_same_seed_gives_the_same_tokens(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    assert draw(backend, 40, seed=5, **fields) == draw(backend, 40, seed=5, **fields)


@everything
def test_candidates_in_python_give_the_same_tokens_as_llama_cpps(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    tokens = draw(backend, 40, seed=5, **fields)
    assert tokens == draw(backend, 40, seed=5, top_logprobs=3, post_sampling_probs=True, **fields)


@everything
def test_the_chain_is_the_one_that_llama_cpp_would_run(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    chain = build_chain(SamplingParams(seed=5, **fields), backend._vocabulary)
    lib.llama_sampler_accept(chain, A)
    expected = [lib.llama_sampler_sample(chain, backend.context.context, 0) for _ in range(40)]
    lib.llama_sampler_free(chain)
    assert draw(backend, 40, seed=5, **fields) == expected


def test_another_seed_gives_other_tokens(backend: LlamaBackend, noise: Logits) -> None:
    assert draw(backend, 40, seed=5) != draw(backend, 40, seed=6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_as_frequent_as_the_softmax_says(
    backend: LlamaBackend, peaks: SetLogits, temperature: float
) -> None:
    row = peaks({A: 3.0, B: 2.0, C: 1.5, D: 1.0, 404: 0.5, 405: 0.0})
    count = 4000
    seen = Counter(
        draw(backend, count, seed=11, samplers=("temperature",), temperature=temperature)
    )
    expected = {token: p * count for token, p in enumerate(softmax(row / temperature)) if p > 1e-4}
    surprise = sum((seen[token] - mean) ** 2 / mean for token, mean in expected.items())
    assert set(seen) <= set(expected)
    assert surprise < 35  # five degrees of freedom: one seed in a million exceeds this value


def test_top_k_leaves_so_many(backend: LlamaBackend, noise: Logits) -> None:
    best = set(np.argsort(-noise)[:3].tolist())
    assert set(draw(backend, 300, top_k=3, top_p=1.0, min_p=0.0, temperature=3.0)) == best


def test_min_p_leaves_what_is_likely_enough(backend: LlamaBackend, peaks: SetLogits) -> None:
    peaks({A: 0.0, B: np.log(0.6), C: np.log(0.4)})
    tokens = draw(backend, 200, samplers=("min_p", "temperature"), min_p=0.5, temperature=1.0)
    assert set(tokens) == {A, B}


@everything
def test_a_banned_token_never_comes(
    backend: LlamaBackend, peaks: SetLogits, fields: dict[str, Any]
) -> None:
    peaks({A: 20.0, B: 1.0, C: 0.5})
    assert A not in draw(backend, 50, logit_bias=((A, float("-inf")),), **fields)


def test_a_bias_raises_a_token(backend: LlamaBackend, peaks: SetLogits) -> None:
    peaks({A: 5.0, B: 1.0})
    assert draw(backend, 1, temperature=0.0, logit_bias=((B, 10.0),)) == [B]


@pytest.mark.parametrize(
    "fields",
    [{}, {"top_k": 1}, {"top_p": 0.1}, {"samplers": ("temperature",)}, {"min_p": 0.9}],
    ids=repr,
)
def test_the_short_cut_for_temperature_zero_takes_what_the_chain_takes(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        noise[:] = rng.normal(0.0, 2.0, len(noise))
        (short,) = draw(backend, 1, temperature=0.0, **fields)
        assert [short] == draw_whole(backend, temperature=0.0, **fields)
        assert short == noise.argmax()


def draw_whole(backend: LlamaBackend, **fields: Any) -> list[int]:
    """A token that llama.cpp's own chain draws from the whole row."""
    chain = build_chain(SamplingParams(**fields), backend._vocabulary)
    token = lib.llama_sampler_sample(chain, backend.context.context, 0)
    lib.llama_sampler_free(chain)
    return [token]


def test_a_temperature_range_around_zero_is_not_greedy(
    backend: LlamaBackend, noise: Logits
) -> None:
    assert len(set(draw(backend, 40, temperature=0.0, dynatemp_range=2.0))) > 1


def test_penalties_see_the_prompt(backend: LlamaBackend, peaks: SetLogits) -> None:
    peaks({A: 5.0, B: 4.0})
    penalised: dict[str, Any] = {"temperature": 0.0, "repeat_penalty": 2.0}
    assert draw(backend, 1, prompt=(A, C, C), **penalised) == [B]
    assert draw(backend, 1, prompt=(A, C, C), repeat_last_n=2, **penalised) == [A]
    assert draw(backend, 1, prompt=(A, *[C] * 200), repeat_last_n=-1, **penalised) == [B]


def test_penalties_see_the_answer(backend: LlamaBackend, peaks: SetLogits) -> None:
    peaks({A: 5.0, B: 4.0, C: 3.0})
    assert draw(backend, 3, prompt=(D,), temperature=0.0, presence_penalty=9.0) == [A, B, C]


def test_penalties_see_what_was_answered_before_a_restart(
    backend: LlamaBackend, peaks: SetLogits
) -> None:
    peaks({A: 5.0, B: 4.0, C: 3.0})
    fields: dict[str, Any] = {"temperature": 0.0, "presence_penalty": 9.0}
    assert draw(backend, 2, prompt=(D,), resumed=(A,), **fields) == [B, C]


@pytest.mark.parametrize("breakers", [(), ("\n",)])
def test_dry_breaks_a_repetition(
    backend: LlamaBackend, peaks: SetLogits, breakers: tuple[str, ...]
) -> None:
    peaks({D: 5.0, A: 4.0})
    fields: dict[str, Any] = {
        "dry_multiplier": 5.0,
        "dry_sequence_breakers": breakers,
        "temperature": 0.0,
    }
    assert draw(backend, 1, prompt=(A, B, C, D, 404, A, B, C), **fields) == [A]
    assert draw(backend, 1, prompt=(404, 405, 406), **fields) == [D]


@pytest.mark.parametrize("cut", [1, 7, 19])
@pytest.mark.parametrize("name", ["defaults", "penalties", "top_p", "none", "dynamic temperature"])
def test_a_resumed_answer_goes_on_in_the_random_numbers(
    backend: LlamaBackend, noise: Logits, name: str, cut: int
) -> None:
    fields: dict[str, Any] = {"seed": 3, **SAMPLERS[name]}
    whole = draw(backend, 20, **fields)
    assert draw(backend, 20 - cut, resumed=tuple(whole[:cut]), **fields) == whole[cut:]


class TestLogprobs:
    def sample(self, backend: LlamaBackend, **fields: Any) -> tuple[int, float, dict[int, float]]:
        submit = add_request(request_id=1, prompt=[A], sampling=SamplingParams(**fields))
        sampler = backend.sampler(submit)
        sample = sample_now(sampler)
        sampler.close()
        assert sample.logprobs is not None
        top = sample.logprobs.top
        assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
        return sample.token, sample.logprobs.logprob, dict(top)

    def test_are_those_of_the_model_whatever_the_samplers_do(
        self, backend: LlamaBackend, noise: Logits
    ) -> None:
        expected = np.log(softmax(noise))
        token, own, top = self.sample(backend, top_logprobs=10, top_k=1, temperature=9.0)
        assert own == pytest.approx(expected[token], abs=1e-5)
        assert set(top) == set(np.argsort(-expected)[:10].tolist())
        assert all(p == pytest.approx(expected[t], abs=1e-5) for t, p in top.items())

    def test_of_the_whole_vocabulary_add_up_to_one(
        self, backend: LlamaBackend, noise: Logits
    ) -> None:
        _, _, top = self.sample(backend, top_logprobs=len(noise) + 5)
        assert len(top) == len(noise)
        assert sum(np.exp(list(top.values()))) == pytest.approx(1.0)

    def test_can_be_of_the_sampled_token_alone(self, backend: LlamaBackend, noise: Logits) -> None:
        token, own, top = self.sample(backend, top_logprobs=0)
        assert own == pytest.approx(np.log(softmax(noise))[token], abs=1e-5)
        assert top == {}

    def test_are_not_spoiled_by_temperature_zero(
        self, backend: LlamaBackend, noise: Logits
    ) -> None:
        token, own, top = self.sample(backend, top_logprobs=2, temperature=0.0)
        assert next(iter(top)) == token
        assert top[token] == own

    def test_after_sampling_are_of_what_the_samplers_left(
        self, backend: LlamaBackend, noise: Logits
    ) -> None:
        fields: dict[str, Any] = {"top_k": 3, "top_p": 1.0, "min_p": 0.0, "temperature": 1.0}
        token, own, top = self.sample(backend, top_logprobs=10, post_sampling_probs=True, **fields)
        assert set(top) == set(np.argsort(-noise)[:3].tolist())
        assert sum(np.exp(list(top.values()))) == pytest.approx(1.0, abs=1e-5)
        assert top[token] == own

    @pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"temperature": 0.0, "top_k": 5}])
    def test_after_sampling_have_no_impossible_tokens(
        self, backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
    ) -> None:
        token, own, top = self.sample(backend, top_logprobs=3, post_sampling_probs=True, **fields)
        assert top == {token: own}
        assert own == 0

    def test_after_xtc_are_of_what_it_left(self, backend: LlamaBackend, peaks: SetLogits) -> None:
        peaks({A: 2.0, B: 1.5, C: 1.0})
        for seed in range(20):
            _, _, top = self.sample(
                backend,
                seed=seed,
                top_logprobs=10,
                post_sampling_probs=True,
                xtc_probability=1.0,
                temperature=1.0,
            )
            assert set(top) == {C}


def test_a_resumed_constrained_answer_goes_on_in_the_random_numbers(
    backend: LlamaBackend, noise: Logits
) -> None:
    grammar = LLGuidanceGrammar('start: /[ab]{3}/ "the same words" /[ab]{6}/')
    runs = draw_runs(backend, grammar, [])
    assert any(len(run) > 1 for run in runs)
    for cut in range(1, len(runs)):
        done = [token for run in runs[:cut] for token in run]
        assert draw_runs(backend, grammar, done) == runs[cut:]


@everything
def test_what_a_constraint_leaves_free_is_sampled_as_without_one(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    fields = {"temperature": 1.0, **fields}
    waiting = LazyConstraint(LLGuidanceGrammar('start: "x"'), words=("never said",))
    runs = draw_runs(backend, waiting, [], count=30, seed=4, **fields)
    assert [run[0] for run in runs] == draw(backend, 30, seed=4, **fields)
    assert all(len(run) == 1 for run in runs)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_thinking_is_ended_by_tokens_that_are_not_sampled(
    backend: LlamaBackend, noise: Logits, temperature: float
) -> None:
    closing = "</think>"
    thinking = ThinkingConstraint(opening=(), closing=closing, end=(A, B, C), max_tokens=5)
    free = draw(backend, 8, seed=4, temperature=temperature)
    runs = draw_runs(backend, thinking, [], count=8, seed=4, temperature=temperature)
    assert [run[0] for run in runs] == free
    assert runs[4][1:] == [A, B, C]
    assert sum(map(len, runs)) == 8 + 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("num_seen", [2, 3, 6])
def test_thinking_that_was_ended_from_outside_goes_on_in_the_next_engine(
    backend: LlamaBackend, noise: Logits, temperature: float, num_seen: int
) -> None:
    thinking = ThinkingConstraint(opening=(), closing="</think>", end=(A, B, C), max_tokens=-1)
    sampling = SamplingParams(seed=4, temperature=temperature)
    submit = add_request(request_id=1, prompt=[A], sampling=sampling, constraint=thinking)
    sampler, row = backend.sampler(submit), noise.copy()

    def taken(sampler: LlamaSampler) -> list[int]:
        noise[:] = row
        sample = sampler.sample(0)
        assert sample is not None
        return [sample.token, *sample.forced]

    tokens = [token for _ in range(3) for token in taken(sampler)]
    assert sampler.end_thinking() == 3
    tokens += [token for _ in range(3) for token in taken(sampler)]
    assert tokens[3:6] == [A, B, C]
    sampler.close()
    # The engine dies. If fewer tokens came through, the thinking ends a little earlier.
    resumed = tokens[:num_seen]
    again = backend.sampler(
        add_request(
            request_id=1,
            prompt=[A],
            sampling=sampling,
            constraint=thinking,
            resumed=resumed,
            thinking_ended_at=3,
        )
    )
    read_again(again)
    more = [token for _ in range(2) for token in taken(again)]
    again.close()
    if num_seen >= 3:
        assert [*resumed, *more][: len(tokens)] == tokens[: num_seen + len(more)]
    else:
        assert more[:3] == [A, B, C]


def read_again(sampler: LlamaSampler) -> None:
    """Let the constraint read the answer so far."""
    while sampler.is_replaying:
        sampler.replay()


def test_thinking_is_ended_after_what_is_still_read(backend: LlamaBackend, noise: Logits) -> None:
    thinking = ThinkingConstraint(opening=(), closing="</think>", end=(A, B), max_tokens=-1)
    sampling = SamplingParams(temperature=0.0)
    sampler = backend.sampler(
        add_request(
            request_id=1, prompt=[A], sampling=sampling, constraint=thinking, resumed=[C, D, C]
        )
    )
    sampler.replay()
    assert sampler.end_thinking() == 3
    read_again(sampler)
    sample = sampler.sample(0)
    assert sample is not None
    assert [sample.token, *sample.forced] == [A, B]
    sampler.close()


def draw_runs(
    backend: LlamaBackend,
    grammar: Constraint,
    resumed: list[int],
    *,
    count: int = 1000,
    is_held: bool = False,
    **fields: Any,
) -> list[list[int]]:
    """At most `count` sampled tokens, each with the tokens that it forces, to the end of the
    answer. With `is_held`, the row has changed by the time that a token is sampled."""
    submit = add_request(
        request_id=1,
        prompt=[A],
        resumed=resumed,
        sampling=SamplingParams(**{"seed": 4, "temperature": 1.0, **fields}),
        constraint=grammar,
    )
    sampler = backend.sampler(submit)
    runs: list[list[int]] = []
    while len(runs) < count and not (runs and runs[-1][-1] in backend.end_tokens):
        sample = sample_held(backend, sampler) if is_held else sample_now(sampler)
        runs.append([sample.token, *sample.forced])
    sampler.close()
    return runs


def sample_held(backend: LlamaBackend, sampler: LlamaSampler) -> Sample:
    """Sample from a row that is overwritten before the mask is computed."""
    row = backend.context.row(0)
    before = row.copy()
    sampler.hold(0)
    row[:] = 0.0
    sample = sample_now(sampler, HELD)
    row[:] = before
    return sample


HELD_GRAMMARS: dict[str, Constraint] = {
    "letters": LLGuidanceGrammar("start: /[ab]{9}/"),
    "forced": LLGuidanceGrammar('start: /[ab]{3}/ "the same words" /[ab]{6}/'),
    "choice": LLGuidanceGrammar("start: /(one|two|three|four)+/"),
    "lazy": LazyConstraint(
        LLGuidanceGrammar("start: /[a-c]{9}/"), tokens=tuple(range(300, 900, 3)), keep_trigger=False
    ),
    "gbnf": GbnfGrammar("root ::= [ab] [cd] [e-z] [e-z] [e-z]"),
}


@everything
@pytest.mark.parametrize("grammar", HELD_GRAMMARS.values(), ids=HELD_GRAMMARS)
def test_what_is_sampled_from_a_held_row_is_the_same(
    backend: LlamaBackend, noise: Logits, grammar: Constraint, fields: dict[str, Any]
) -> None:
    in_time = draw_runs(backend, grammar, [], count=20, **fields)
    noise[:] = np.random.default_rng(1).normal(0.0, 2.5, len(noise))
    assert draw_runs(backend, grammar, [], count=20, is_held=True, **fields) == in_time


def test_a_mask_that_cannot_be_computed_is_an_error_of_the_sampler(
    backend: LlamaBackend, noise: Logits
) -> None:
    class Broken(LLGuidanceMatcher):
        def prepare(self) -> None:
            raise ConstraintFailed("this constraint is broken")

    submit = add_request(request_id=1, prompt=[A], sampling=SamplingParams(temperature=1.0))
    matcher = Broken(LLGuidanceGrammar("start: /a/"), vocabulary_of_llama(backend.context.vocab))
    parts = backend.context, backend._vocabulary, backend._candidates
    sampler = LlamaSampler(submit, *parts, matcher)
    assert sampler.sample(0) is None
    sampler.prepare()
    with pytest.raises(SamplerError, match="this constraint is broken"):
        sampler.sample(0)


@pytest.mark.parametrize("window", ["repeat_last_n", "dry_penalty_last_n"])
@pytest.mark.parametrize("last_n", [2**31 - 1, 2**30, 10**6])
def test_a_sampler_does_not_look_back_beyond_the_context(
    backend: LlamaBackend, window: str, last_n: int
) -> None:
    """llama.cpp would allocate memory for all of it."""
    fields: dict[str, Any] = {"dry_multiplier": 1.0, "repeat_penalty": 1.1, window: last_n}
    assert len(draw(backend, 2, **fields)) == 2


@pytest.mark.parametrize("count", [1, 300, 512])
def test_many_biases_beside_a_mask(backend: LlamaBackend, peaks: SetLogits, count: int) -> None:
    peaks({A: 5.0, B: 4.0, C: 3.0})
    biases = (*((token, -9.0) for token in range(count)), (A, -9.0), (A, -9.0), (C, 9.0))
    free = LLGuidanceGrammar("start: /(.|\\n)*/")
    submit = add_request(
        1, [A], sampling=SamplingParams(seed=1, temperature=0.1, logit_bias=biases), constraint=free
    )
    preparation = backend.prepare(submit)
    assert preparation is not None
    preparation.result(30)
    sampler = backend.sampler(submit, preparation)
    sample = sampler.sample(0)
    if sample is None:  # the mask is late
        sampler.hold(0)
        sampler.prepare()
        sample = sampler.sample(HELD)
    sampler.close()
    assert sample is not None
    # Summed: A 5 - 18 (- 9), B 4 (- 9), C 3 + 9 (- 9); without biases it is A.
    assert sample.token == C


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dry_base": 3.0, "dry_allowed_length": 1},
        {"dry_penalty_last_n": -1, "dry_sequence_breakers": ("x", "y")},
    ],
    ids=repr,
)
def test_a_copied_dry_sampler_is_like_a_new_one(
    backend: LlamaBackend, noise: Logits, fields: dict[str, Any]
) -> None:
    kept = noise.copy()
    prompt = (A, B, C, D) * 4
    submit = add_request(1, list(prompt), sampling=SamplingParams(dry_multiplier=2.0, **fields))
    preparation = backend.prepare(submit)
    if preparation is not None:
        preparation.result(30)
    assert backend.prepare(submit) is None
    answers = []
    for _ in range(2):
        noise[:] = kept
        answers.append(draw(backend, 20, prompt=prompt, seed=3, dry_multiplier=2.0, **fields))
    assert answers[0] == answers[1]
