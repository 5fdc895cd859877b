"""The llama.cpp backend on the demo model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.events import Finished, Generated, Scored
from protocol.sampling import SamplingParams
from scheduler.backends.base import DecodeError, LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import CopyPrefix, Drop, Restore, Save, Trim
from scheduler.engine.engine import Engine
from tests.support.backends import (
    N_CTX_SLOT,
    TARGET,
    chunk,
    compute,
    make_backend,
    softmax,
    text_tokens,
)
from tests.support.requests import add_request

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned f16": {},
    "partitioned q8_0": {"cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    "unified f16": {"kv_unified": True},
    "unified q8_0": {"kv_unified": True, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def shared_backend(layout: str) -> Iterator[LlamaBackend]:
    backend = make_backend(**LAYOUTS[layout])
    yield backend
    backend.close()


@pytest.fixture
def backend(shared_backend: LlamaBackend) -> LlamaBackend:
    for slot in range(4):
        shared_backend.edit(Trim(slot, 0))
    return shared_backend


@pytest.fixture
def tolerance(layout: str) -> float:
    """When partitioned, each slot has its own stream, so numbers don't depend on the slot."""
    return 0.0 if layout.startswith("partitioned") else 0.1


TOKENS = text_tokens(90)


def reference(backend: LlamaBackend, slot: int, cut: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The logits after all tokens, computed in two chunks."""
    compute(backend, TOKENS, slot, 0, cut)
    return compute(backend, TOKENS, slot, cut)


def same(a: Any, b: Any, tolerance: float) -> bool:
    return bool(np.abs(a - b).max() <= tolerance)


def test_a_copied_prefix_gives_the_logits_of_a_full_computation(
    backend: LlamaBackend, tolerance: float
) -> None:
    expected = reference(backend, 0, 64)
    backend.edit(CopyPrefix(0, 2, 64))
    assert same(compute(backend, TOKENS, 2, 64), expected, tolerance)


def test_a_copy_replaces_what_the_slot_held(backend: LlamaBackend, tolerance: float) -> None:
    expected = reference(backend, 0, 64)
    compute(backend, text_tokens(100, start=5), 1)
    backend.edit(CopyPrefix(0, 1, 64))
    assert same(compute(backend, TOKENS, 1, 64), expected, tolerance)


def test_the_lender_goes_on_as_if_nothing_had_happened(
    backend: LlamaBackend, tolerance: float
) -> None:
    expected = reference(backend, 3, 64)
    compute(backend, TOKENS, 0, 0, 64)
    backend.edit(CopyPrefix(0, 1, 40))
    compute(backend, text_tokens(60), 1, 40)
    assert same(compute(backend, TOKENS, 0, 64), expected, tolerance)


def test_what_was_computed_at_once_and_in_pieces_is_close(backend: LlamaBackend) -> None:
    whole = compute(backend, TOKENS, 0)
    assert same(reference(backend, 1, 64), whole, 0.3)


def test_a_trimmed_slot_goes_on_from_there(backend: LlamaBackend, tolerance: float) -> None:
    expected = reference(backend, 1, 64)
    compute(backend, [*TOKENS[:64], *text_tokens(20, start=9)], 0, 0, 64)
    compute(backend, [*TOKENS[:64], *text_tokens(20, start=9)], 0, 64)
    backend.edit(Trim(0, 64))
    assert same(compute(backend, TOKENS, 0, 64), expected, tolerance)


def test_saved_cells_come_back_in_another_slot(backend: LlamaBackend, tolerance: float) -> None:
    expected = reference(backend, 0, 64)
    backend.edit(Save(0, prefix=7))
    backend.edit(Trim(0, 0))
    compute(backend, text_tokens(30, start=3), 2)
    backend.edit(Restore(7, 2, 64))
    assert same(compute(backend, TOKENS, 2, 64), expected, tolerance)
    backend.edit(Drop(7))


BAD_CHUNKS = {
    "a gap": chunk(TOKENS, 0, 5, 10),
    "what is there already": chunk(TOKENS, 0, 1, 10),
    "a slot too far": chunk(TOKENS, 4),
    "a negative slot": chunk(TOKENS, -1),
    "a negative token": chunk([5, -1], 0),
    "a token too large": chunk([5, 10**6], 0),
    "more tokens than the slot has cells": chunk(text_tokens(2 * 4 * N_CTX_SLOT), 0),
}


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_what_llama_cpp_would_abort_over_is_an_error(backend: LlamaBackend, bad: Any) -> None:
    compute(backend, TOKENS, 0, 0, 3)
    with pytest.raises(DecodeError):
        backend.decode([bad])


def test_after_an_error_all_slots_are_empty_and_work(
    backend: LlamaBackend, tolerance: float
) -> None:
    expected = reference(backend, 0, 64)
    with pytest.raises(DecodeError):
        backend.decode([chunk([-1], 1)])
    assert same(reference(backend, 0, 64), expected, tolerance)


def test_rows_are_in_the_order_of_the_chunks_that_want_them(backend: LlamaBackend) -> None:
    prompts = [text_tokens(10, start) for start in range(4)]
    expected = [compute(backend, prompt, slot) for slot, prompt in enumerate(prompts)]
    for slot in range(4):
        backend.edit(Trim(slot, 0))
    wanted = [0, 2, 3]
    backend.decode([chunk(p, slot, logits=slot in wanted) for slot, p in enumerate(prompts)])
    for row, slot in enumerate(wanted):
        assert same(backend.context.row(row), expected[slot], 0.3)


@pytest.mark.parametrize("slots", [[0], [1, 2], [0, 1, 2, 3]])
def test_decodes_of_the_same_slots_reuse_the_graph(backend: LlamaBackend, slots: list[int]) -> None:
    tokens = text_tokens(30)
    backend.decode([chunk(tokens, slot, 0, 20) for slot in slots])
    backend.decode([chunk(tokens, slot, 20, 21) for slot in slots])
    before = backend.num_reused_graphs
    for start in range(21, 29):
        backend.decode([chunk(tokens, slot, start, start + 1) for slot in slots])
    assert backend.num_reused_graphs - before == 8
    backend.decode([chunk(tokens, slot, 29, 30) for slot in slots[:1]])
    is_other_shape = len(slots) > 1
    assert backend.num_reused_graphs - before == 8 + (not is_other_shape)


def greedy(backend: LlamaBackend, prompts: list[list[int]], length: int) -> list[list[int]]:
    """Answers at temperature 0, with all prompts running at the same time."""
    for slot in range(backend.info.n_slots):
        backend.edit(Trim(slot, 0))
    engine = Engine(backend, time.monotonic, itl_target=0.1)
    for request_id, prompt in enumerate(prompts):
        sampling = SamplingParams(temperature=0.0)
        engine.add_request(
            add_request(request_id=request_id, prompt=prompt, sampling=sampling, max_tokens=length)
        )
    answers: dict[int, list[int]] = {request_id: [] for request_id in range(len(prompts))}
    ended = 0
    while ended < len(prompts):
        for event in engine.step().outputs().events:
            if isinstance(event, Generated):
                answers[event.request_id] += event.tokens
            ended += isinstance(event, Finished)
    return list(answers.values())


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "partitioned" in name])
def test_slots_of_their_own_give_the_same_answer_alone_and_in_company(layout: str) -> None:
    """In a unified cache, the other sequences affect the order of the cells, and so the
    rounding."""
    backend = make_backend(**LAYOUTS[layout])
    prompts = [text_tokens(40 + 7 * slot, slot) for slot in range(4)]
    alone = [greedy(backend, [prompt], 12)[0] for prompt in prompts]
    assert greedy(backend, prompts, 12) == alone
    backend.close()


@pytest.mark.parametrize(
    ("n_ctx", "n_slots", "unified"), [(100, 4, False), (300, 3, True), (1000, 3, False)]
)
def test_a_prompt_that_fills_an_oddly_sized_context_is_answered(
    n_ctx: int, n_slots: int, unified: bool
) -> None:
    backend = make_backend(n_ctx=n_ctx, n_slots=n_slots, kv_unified=unified)
    prompt = text_tokens(backend.info.n_ctx_slot - 2)
    assert len(greedy(backend, [prompt], 2)[0]) >= 1
    backend.close()


def test_a_batch_smaller_than_the_slots_still_serves_them_all() -> None:
    backend = make_backend(n_batch=2)
    answers = greedy(backend, [text_tokens(20, start) for start in range(6)], 3)
    assert all(answers)
    backend.close()


def test_what_the_backend_says_of_itself(backend: LlamaBackend) -> None:
    info = backend.info
    assert (info.n_slots, info.n_ctx) == (4, 4 * N_CTX_SLOT)
    assert info.n_vocab > 1000
    assert info.can_trim
    assert backend.end_tokens
    assert all(0 <= token < info.n_vocab for token in backend.end_tokens)


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"no model at all" * 100])
def test_a_file_that_is_no_model_is_a_load_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=r"bad\.gguf"):
        make_backend(model_path=str(path))


def test_a_model_that_ends_early_is_a_load_error(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(TARGET.read_bytes()[:-100_000])
    with pytest.raises(LoadError):
        make_backend(model_path=str(path))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("lengths", [(2,), (33, 90), (70, 5, 40)])
def test_scores_of_prompts_are_those_of_the_model(layout: str, lengths: tuple[int, ...]) -> None:
    """Prompts are scored in parts; one row of logits at a time gives the same."""
    backend = make_backend(**LAYOUTS[layout])
    prompts = [text_tokens(length, index) for index, length in enumerate(lengths)]
    engine = Engine(backend, time.monotonic, itl_target=0.1)
    sampling = SamplingParams(temperature=0.0, top_logprobs=1)
    fields: dict[str, Any] = {"score_prompt": True, "sampling": sampling}
    for request_id, prompt in enumerate(prompts):
        engine.add_request(
            add_request(request_id=request_id, prompt=prompt, max_tokens=1, **fields)
        )
    scores: dict[int, list[float]] = {request_id: [] for request_id in range(len(prompts))}
    ended = 0
    while ended < len(prompts):
        for event in engine.step().outputs().events:
            if isinstance(event, Scored):
                assert event.start == len(scores[event.request_id]) + 1
                scores[event.request_id] += [score.logprob for score in event.logprobs]
            ended += isinstance(event, Finished)
    for slot in range(backend.info.n_slots):
        backend.edit(Trim(slot, 0))
    for request_id, prompt in enumerate(prompts):
        one_by_one = [softmax(compute(backend, prompt, 0, at, at + 1)) for at in range(len(prompt))]
        expected = [float(np.log(one_by_one[at - 1][prompt[at]])) for at in range(1, len(prompt))]
        assert np.allclose(scores[request_id], expected, atol=0.1)
        backend.edit(Trim(0, 0))
    backend.close()
