"""Every type of KV cache works with every setting of flash attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scheduler.backends.base import LoadError
from scheduler.backends.llama.loading import CACHE_TYPES, UNQUANTIZED
from tests.support.backends import compute, make_backend, softmax, text_tokens
from tests.support.engines import Server

PROMPT = text_tokens(80)


@pytest.fixture(scope="module")
def exact() -> Any:
    """The model's probabilities after the prompt, with an unquantized cache."""
    backend = make_backend(cache_type_k="f32", cache_type_v="f32", flash_attn="off")
    probabilities = softmax(compute(backend, PROMPT, 0))
    backend.close()
    return probabilities


@pytest.mark.parametrize("flash_attn", ["auto", "on", "off"])
@pytest.mark.parametrize("cache_type", CACHE_TYPES)
def test_a_type_of_cache_serves(cache_type: str, flash_attn: str, exact: Any) -> None:
    values = cache_type if cache_type in UNQUANTIZED or flash_attn != "off" else "f16"
    backend = make_backend(cache_type_k=cache_type, cache_type_v=values, flash_attn=flash_attn)
    found = softmax(compute(backend, PROMPT, 1))
    assert np.abs(found - exact).sum() / 2 < (0.1 if cache_type in UNQUANTIZED else 0.4)
    assert Server(backend).answer(PROMPT, 8).tokens
    backend.close()


@pytest.mark.parametrize("cache_type", [name for name in CACHE_TYPES if name not in UNQUANTIZED])
def test_quantized_values_need_flash_attention(cache_type: str) -> None:
    with pytest.raises(LoadError) as caught:
        make_backend(cache_type_v=cache_type, flash_attn="off")
    assert str(caught.value) == (
        f"--cache-type-v {cache_type} needs flash attention, which --flash-attn turns off"
    )


def test_more_slots_than_llama_cpp_has_are_refused() -> None:
    with pytest.raises(LoadError, match=r"--parallel must be at most \d+, got 300"):
        make_backend(n_slots=300)


@pytest.mark.parametrize("kv_unified", [False, True])
def test_a_context_without_a_token_for_each_slot_is_refused(kv_unified: bool) -> None:
    with pytest.raises(LoadError, match=r"--ctx-size 3 is too small: each of 4 slots"):
        make_backend(n_ctx=3, kv_unified=kv_unified)


@pytest.mark.parametrize("kv_unified", [False, True])
def test_the_smallest_contexts_serve(kv_unified: bool) -> None:
    backend = make_backend(n_ctx=4, kv_unified=kv_unified)
    prompts = [text_tokens(20, start) for start in range(6)]
    answers = Server(backend).answers(prompts, 3)
    assert all(answer.tokens and not answer.message for answer in answers)
    backend.close()
