"""Answers longer than their slot, on a real context."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.commands import ContextShift
from protocol.events import FinishReason
from protocol.sampling import SamplingParams
from scheduler.backends.base import LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.loading import CACHE_TYPES
from scheduler.core.cache_edits import CopyPrefix, Shift, Trim
from tests.support.backends import N_CTX_SLOT, compute, make_backend, softmax, text_tokens
from tests.support.engines import Server
from tests.support.tiny_models import single_layer

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {},
    "partitioned q8_0": {"cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    "unified": {"kv_unified": True, "n_ctx": 512},
}
TOKENS = text_tokens(120)


@pytest.fixture(scope="module", params=LAYOUTS)
def shared_backend(request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    backend = make_backend(context_shift=True, **LAYOUTS[request.param])
    yield backend
    backend.close()


@pytest.fixture
def backend(shared_backend: LlamaBackend) -> LlamaBackend:
    for slot in range(4):
        shared_backend.edit(Trim(slot, 0))
    return shared_backend


def distance(a: Any, b: Any) -> float:
    """The probability that differs between two rows of logits, 0 to 1."""
    return float(np.abs(softmax(a) - softmax(b)).sum() / 2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_moved_cells_are_what_would_be_computed_there(layout: str, tmp_path: Path) -> None:
    """With one layer, cells don't depend on earlier cells, so moved cells are exact."""
    path = tmp_path / "single.gguf"
    single_layer(path)
    backend = make_backend(model_path=str(path), context_shift=True, **LAYOUTS[layout])
    tokens = [3 + (31 * index + index * index // 5) % 256 for index in range(120)]
    window = [*tokens[:20], *tokens[50:]]
    plain = compute(backend, window, 0)
    compute(backend, tokens, 1, 0, 119)
    backend.edit(Shift(1, 20, 50, may_be_shared=True))
    shifted = compute(backend, window, 1, 89)
    compute(backend, tokens, 3, 0, 20)
    without = compute(backend, [*tokens[:20], tokens[119]], 3, 20)
    assert distance(shifted, plain) < 0.1 * distance(without, plain)
    backend.close()


@pytest.mark.parametrize("cache_type", CACHE_TYPES)
def test_where_llama_cpp_would_die_of_a_shift_it_is_refused(
    cache_type: str, tmp_path: Path
) -> None:
    path = tmp_path / "single.gguf"
    single_layer(path, head=32)
    if cache_type in ("f32", "f16"):
        make_backend(model_path=str(path), context_shift=True, cache_type_k=cache_type).close()
        return
    with pytest.raises(LoadError, match=f"can't be moved with --cache-type-k {cache_type}"):
        make_backend(model_path=str(path), context_shift=True, cache_type_k=cache_type)
    backend = make_backend(model_path=str(path), cache_type_k=cache_type)
    assert not backend.abilities.can_shift
    backend.close()


def test_a_shift_moves_nobody_else(backend: LlamaBackend) -> None:
    compute(backend, TOKENS, 0, 0, 100)
    expected = compute(backend, TOKENS, 0, 100)
    backend.edit(Trim(0, 100))
    backend.edit(CopyPrefix(0, 1, 100))
    backend.edit(CopyPrefix(0, 2, 100))
    backend.edit(Shift(1, 10, 60, may_be_shared=True))
    compute(backend, [*TOKENS[:10], *TOKENS[60:]], 1, 50)
    for slot in (0, 2):
        assert distance(compute(backend, TOKENS, slot, 100), expected) < 0.01


def test_answers_go_on_side_by_side_and_end_when_they_should(backend: LlamaBackend) -> None:
    prompts = [text_tokens(60 + 20 * family, family) for family in range(4)]
    server = Server(backend)
    never_ending = SamplingParams(
        temperature=0.0, logit_bias=tuple((token, -np.inf) for token in backend.end_tokens)
    )
    found = server.answers(
        prompts, 3 * N_CTX_SLOT, context_shift=ContextShift(10, 0), sampling=never_ending
    )
    for answer in found:
        assert answer.reason is FinishReason.MAX_TOKENS, answer.message
        assert len(answer.tokens) == 3 * N_CTX_SLOT


def test_before_the_slot_is_full_nothing_is_different(backend: LlamaBackend) -> None:
    expected = Server(backend).answer(TOKENS, 20)
    assert Server(backend).answer(TOKENS, 20, context_shift=ContextShift(4, 0)) == expected


@pytest.mark.parametrize(("keep", "discard"), [*itertools.product((0, 1, 10_000), repeat=2)])
def test_any_wishes_keep_the_context_alive(backend: LlamaBackend, keep: int, discard: int) -> None:
    answer = Server(backend).answer(text_tokens(200), 80, context_shift=ContextShift(keep, discard))
    assert answer.reason in (FinishReason.MAX_TOKENS, FinishReason.STOP), answer.message


def test_chunks_behind_an_edit_are_moved_and_near_what_would_be_computed(
    backend: LlamaBackend,
) -> None:
    before = [*TOKENS[:40], *text_tokens(10, 3), *TOKENS[40:]]
    server = Server(backend)
    server.answer(before, 1, slot=0)
    found = server.answer([*TOKENS, 7], 8, slot=0, min_reused_chunk=16)
    assert (found.num_cached, len(found.tokens)) == (120, 8)
    again = server.answer([*TOKENS, 7], 8, slot=1)
    assert again.num_cached <= 40
    plain = Server(backend).answer([*TOKENS, 7], 8)
    assert again.tokens == plain.tokens
