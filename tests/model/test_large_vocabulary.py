"""Rows of a large vocabulary: shortcuts give the tokens that llama.cpp's chain gives."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_cpp import llama_cpp as lib

from protocol.sampling import SamplingParams
from scheduler.backends.base import SamplerError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.candidates import Candidates, Logits
from scheduler.backends.llama.sampler import LlamaSampler, Vocabulary, build_chain
from scheduler.backends.llama.shortlist import Shortlist, shortlist
from scheduler.core.sampler import HELD
from scheduler.core.sequence import Sequence
from scheduler.core.step import Chunk
from scheduler.engine.sampling_threads import SamplingThreads
from tests.support.backends import chunk, make_backend, text_tokens
from tests.support.requests import add_request
from tests.support.sampler_cases import PENALISED, SAMPLER_CASES

N_VOCAB = 40_009
COUNT = 25
"""Tokens of each answer; each is drawn from a row of its own."""

SAMPLERS: dict[str, dict[str, Any]] = {
    **SAMPLER_CASES,
    "lifting penalties": {"repeat_penalty": 0.8, "presence_penalty": -0.5},
    "penalties at zero": {**PENALISED, "temperature": 0.0},
    "penalties of all tokens": {**PENALISED, "repeat_last_n": -1},
    "dry of few tokens": {"dry_multiplier": 0.8, "dry_penalty_last_n": 16},
    "greedy": {"temperature": 0.0},
    "top_k of one": {"top_k": 1},
    "large top_k": {"top_k": 3000},
    "no top_k": {"top_k": 0},
}
everything = pytest.mark.parametrize("fields", SAMPLERS.values(), ids=SAMPLERS)
BIASES = {"no bias": (), "biases": ((7, 4.0), (40_000, -3.0), (11, float("-inf")))}
biased = pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)


@functools.cache
def _row(seed: int, index: int) -> Logits:
    generator = np.random.default_rng([seed, index])
    row = generator.normal(0.0, 3.0, N_VOCAB).astype(np.float32)
    row[generator.integers(0, N_VOCAB, 30)] += 8.0
    return row


@dataclass
class Rows:
    """Rows of random numbers, which peak at some tokens and repeat themselves."""

    seed: int
    is_surveyed: bool = False
    context: int = 0

    def row(self, index: int) -> Logits:
        return _row(self.seed, index % 9).copy()

    def add(self, index: int, biases: tuple[tuple[int, float], ...]) -> None:
        raise AssertionError("a large row goes through Python")

    def batch_index(self, index: int) -> int:
        raise AssertionError("a large row goes through Python")

    def likeliest(self, index: int) -> Shortlist | None:
        """More tokens than a sampler asks for, as if another row of the batch needed them."""
        return shortlist(self.row(index), 150) if self.is_surveyed else None

    def is_left(self, index: int) -> bool:
        return False

    def left(self, index: int) -> Shortlist:
        raise AssertionError("nothing was left")


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = make_backend(n_slots=1)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def computed() -> Iterator[LlamaBackend]:
    """A backend that has computed one row."""
    backend = make_backend(n_slots=1)
    backend.decode([chunk(text_tokens(9), 0)])
    backend.wait()
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def vocabulary(backend: LlamaBackend) -> Vocabulary:
    return replace(backend._vocabulary, n_vocab=N_VOCAB)


PROMPT = [3, 4, 5, 3, 4]


def make_sampler(
    vocabulary: Vocabulary,
    *,
    seed: int = 1,
    is_surveyed: bool = False,
    candidates: Candidates | None = None,
    **fields: Any,
) -> LlamaSampler:
    params = SamplingParams(**{"seed": seed, **fields})
    request = add_request(request_id=1, prompt=PROMPT, sampling=params)
    rows = Rows(seed, is_surveyed)
    return LlamaSampler(request, rows, vocabulary, candidates or Candidates(N_VOCAB), None)


def draw(sampler: LlamaSampler, count: int = COUNT) -> list[int]:
    tokens = []
    for row in range(count):
        sample = sampler.sample(row)
        assert sample is not None
        tokens.append(sample.token)
    sampler.close()
    return tokens


def draw_by_chain(vocabulary: Vocabulary, seed: int = 1, **fields: Any) -> list[int]:
    """What llama.cpp's chain draws from the whole rows."""
    params = SamplingParams(**{"seed": seed, **fields})
    chain = build_chain(params, vocabulary)
    for token in PROMPT:
        lib.llama_sampler_accept(chain, token)
    candidates, rows = Candidates(N_VOCAB), Rows(seed)
    tokens: list[int] = []
    for index in range(COUNT):
        row = rows.row(index)
        for token, bias in params.logit_bias:
            row[token] += bias
        tokens.append(candidates.choose(chain, row))
        lib.llama_sampler_accept(chain, tokens[-1])
    lib.llama_sampler_free(chain)
    return tokens


@everything
@biased
@pytest.mark.parametrize("is_surveyed", [False, True])
def test_tokens_are_those_of_the_chain_over_all_tokens(
    vocabulary: Vocabulary, fields: dict[str, Any], bias: Any, is_surveyed: bool
) -> None:
    fields = {**fields, "logit_bias": bias}
    expected = draw_by_chain(vocabulary, **fields)
    assert draw(make_sampler(vocabulary, is_surveyed=is_surveyed, **fields)) == expected


@everything
def test_log_probabilities_change_no_token(vocabulary: Vocabulary, fields: dict[str, Any]) -> None:
    expected = draw_by_chain(vocabulary, **fields)
    assert draw(make_sampler(vocabulary, top_logprobs=5, **fields)) == expected
    after = {**fields, "post_sampling_probs": True}
    assert draw(make_sampler(vocabulary, top_logprobs=5, **after)) == expected


@everything
def test_a_held_row_gives_the_same_token(vocabulary: Vocabulary, fields: dict[str, Any]) -> None:
    sampler = make_sampler(vocabulary, **fields)
    tokens = []
    for row in range(COUNT):
        sampler.hold(row)
        sample = sampler.sample(HELD)
        assert sample is not None
        tokens.append(sample.token)
    sampler.close()
    assert tokens == draw_by_chain(vocabulary, **fields)


@everything
def test_samplers_in_threads_give_the_same_tokens(
    vocabulary: Vocabulary, fields: dict[str, Any]
) -> None:
    candidates = Candidates(N_VOCAB)
    seeds = range(6)
    found: dict[int, list[int]] = {}

    def answer(seed: int) -> None:
        found[seed] = draw(make_sampler(vocabulary, seed=seed, candidates=candidates, **fields))

    threads = SamplingThreads(3)
    threads.run([lambda seed=seed: answer(seed) for seed in seeds])  # type: ignore[misc]
    threads.close()
    assert found == {seed: draw_by_chain(vocabulary, seed, **fields) for seed in seeds}


def test_of_equally_likely_tokens_the_lowest_is_taken(vocabulary: Vocabulary) -> None:
    row = np.zeros(N_VOCAB, dtype=np.float32)
    row[[39_999, 17, 20_000]] = 5.0
    for fields in ({"temperature": 0.0}, {"top_k": 1}, {"top_k": 1, "top_p": 0.5}):
        sampler = make_sampler(vocabulary, **fields)
        sampler._held = row.copy()
        sample = sampler.sample(HELD)
        assert sample is not None
        assert sample.token == 17
        sampler.close()


def test_log_probabilities_are_those_of_the_row(vocabulary: Vocabulary) -> None:
    sampler = make_sampler(vocabulary, top_logprobs=20, logit_bias=((7, 50.0),))
    row = sampler._rows.row(0).astype(np.float64)
    expected = row - np.log(np.exp(row).sum())
    sample = sampler.sample(0)
    assert sample is not None
    assert sample.logprobs is not None
    assert sample.token == 7
    assert sample.logprobs.logprob == pytest.approx(expected[7], abs=1e-5)
    assert [t for t, _ in sample.logprobs.top] == np.argsort(-expected)[:20].tolist()
    assert all(p == pytest.approx(expected[t], abs=1e-5) for t, p in sample.logprobs.top)
    sampler.close()


@pytest.mark.parametrize(
    ("fields", "is_heavy"),
    [
        ({}, False),
        ({"temperature": 0.0}, False),
        ({**PENALISED}, False),
        ({"top_k": 0}, True),
        ({"top_logprobs": 0}, True),
        ({"top_logprobs": 3, "post_sampling_probs": True}, False),
        ({"mirostat": 2}, True),
    ],
    ids=repr,
)
def test_only_rows_that_are_read_whole_are_heavy(
    vocabulary: Vocabulary, fields: dict[str, Any], is_heavy: bool
) -> None:
    sampler = make_sampler(vocabulary, **fields)
    assert sampler.is_heavy == is_heavy
    sampler.close()


def test_rows_of_a_small_vocabulary_are_not_heavy(backend: LlamaBackend) -> None:
    cases: list[dict[str, Any]] = [{}, {"top_k": 0}, {"top_logprobs": 3}]
    for fields in cases:
        request = add_request(request_id=1, prompt=PROMPT, sampling=SamplingParams(**fields))
        sampler = backend.sampler(request)
        assert not sampler.is_heavy
        sampler.close()


def test_a_survey_finds_the_likeliest_tokens_of_the_rows_that_are_named() -> None:
    backend = make_backend(n_slots=8)
    chunks = [chunk(text_tokens(5, slot), slot) for slot in range(8)]
    backend.decode(chunks)
    named = [0, 2, 3, 4, 5, 6]
    threads = SamplingThreads(2)
    threads.run(backend.survey(named, 30))
    threads.close()
    for row in range(8):
        found, logits = backend.context.likeliest(row), backend.context.row(row)
        expected = np.argsort(-logits, kind="stable")[:30].tolist()
        assert (None if found is None else found.ids.tolist()) == (
            expected if row in named else None
        )
    backend.decode([chunk(text_tokens(6, slot), slot, 5) for slot in range(8)])
    assert backend.context.likeliest(0) is None
    backend.close()


@pytest.fixture(scope="module")
def three_rows() -> Iterator[LlamaBackend]:
    """A batch of three sequences."""
    backend = make_backend(n_slots=3)
    prompts = [add_request(request_id=slot, prompt=PROMPT) for slot in range(3)]
    chunks = [
        Chunk(Sequence.of(request), slot, 0, len(PROMPT), True)
        for slot, request in enumerate(prompts)
    ]
    backend.decode(chunks)
    backend.wait()
    yield backend
    backend.close()


def test_rows_that_the_device_has_cut_are_not_surveyed() -> None:
    backend = make_backend(n_slots=2)
    params = SamplingParams(backend_sampling=True)
    for slot, sampling in enumerate((SamplingParams(), params)):
        submit = add_request(request_id=slot, prompt=PROMPT, sampling=sampling)
        parts = [Chunk(Sequence.of(submit), slot, 0, len(PROMPT), True)]
        backend.decode(parts)
        for task in backend.survey([0], 5):
            task()
        assert (backend.context.likeliest(0) is None) == (slot == 1)
        assert backend.context.is_left(0) == (slot == 1)
    backend.close()


BANS = {"bans": {"logit_bias": ((40, float("-inf")), (300, float("-inf")))}}


@pytest.mark.parametrize("fields", [*SAMPLERS.values(), *BANS.values()], ids=[*SAMPLERS, *BANS])
def test_a_row_that_llama_cpp_reads_gives_the_same_tokens(
    computed: LlamaBackend, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr("scheduler.backends.llama.shortlist.FEW", 1)
    drawn = []
    for few, readable in ((1, 0), (1, 1_000_000), (1_000_000, 0)):
        monkeypatch.setattr("scheduler.backends.llama.sampler.FEW", few)
        monkeypatch.setattr("scheduler.backends.llama.sampler.READABLE", readable)
        params = SamplingParams(**{"seed": 3, "top_k": 5, **fields})
        sampler = computed.sampler(add_request(request_id=1, prompt=PROMPT, sampling=params))
        drawn.append([sampler.sample(0) for _ in range(COUNT)])
        sampler.close()
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize("has_threads", [False, True])
def test_rows_are_surveyed_where_threads_do_it_together(
    vocabulary: Vocabulary, has_threads: bool
) -> None:
    readable = replace(vocabulary, n_vocab=30_000, has_threads=has_threads)
    assert make_sampler(readable, top_k=40).num_candidates == (40 if has_threads else 0)
    assert make_sampler(readable, temperature=0.0).num_candidates == 1
    penalised: dict[str, Any] = dict(PENALISED)
    assert make_sampler(readable, **penalised).num_candidates > 40
    assert make_sampler(replace(readable, n_vocab=80_000), top_k=40).num_candidates == 40


@given(
    row=st.integers(0, 2),
    biases=st.dictionaries(
        st.integers(0, 2047), st.floats(-1e6, 1e6, width=32) | st.just(float("-inf")), max_size=16
    ),
)
def test_few_biases_are_added_as_numpy_adds_them(
    three_rows: LlamaBackend, row: int, biases: dict[int, float]
) -> None:
    expected = three_rows.context._rows.copy()
    tokens = list(biases)
    expected[row, tokens] += np.array(list(biases.values()), dtype=np.float32)
    before = three_rows.context._rows.copy()
    three_rows.context.add(row, tuple(biases.items()))
    assert np.array_equal(three_rows.context._rows, expected)
    three_rows.context._rows[:] = before


@pytest.mark.parametrize("token", [-1, 2048, 1 << 40])
def test_a_biased_token_outside_the_vocabulary_never_reaches_memory(
    computed: LlamaBackend, token: int
) -> None:
    params = SamplingParams(logit_bias=((5, 1.0), (token, 2.0)))
    with pytest.raises(SamplerError, match="outside the vocabulary"):
        computed.sampler(add_request(request_id=1, prompt=PROMPT, sampling=params))
