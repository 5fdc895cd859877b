"""Models whose memory is no plain cache of cells: fewer features, right results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.events import FinishReason
from protocol.sampling import SamplingParams
from scheduler.backends.base import LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CopyPrefix, Restore, Save, Trim
from scheduler.core.sequence import Sequence
from tests.support.backends import compute, make_backend
from tests.support.engines import Server
from tests.support.shaped_models import mla
from tests.support.tiny_models import MODELS, N_VOCAB, WINDOW

LENGTH = 16
ENDLESS = SamplingParams(temperature=0.0, logit_bias=((2, float("-inf")),))
"""Greedy, without the token that ends an answer."""
CACHE_TYPES = {"cache_type_k": "f32", "cache_type_v": "f32"}
"""With 32-bit caches, a computation in other pieces differs too little to change a token."""


def prompt(length: int, family: int = 0) -> list[int]:
    """Bytes of the vocabulary; prompts of different families differ from the first byte on."""
    return [3 + (53 * family + 31 * index + index * index // 5) % 256 for index in range(length)]


@pytest.fixture(scope="module", params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def path(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{kind}.gguf"
    MODELS[kind](path)
    return path


@pytest.fixture(scope="module")
def backend(path: Path) -> Iterator[LlamaBackend]:
    backend = open_model(path)
    yield backend
    backend.close()


def open_model(path: Path, **fields: Any) -> LlamaBackend:
    """Open a model with a micro-batch so small that llama.cpp drops cells behind the window."""
    fields = {"n_ctx": 4 * 768, "n_ubatch": 32, **CACHE_TYPES, **fields}
    return make_backend(model_path=str(path), **fields)


def alone(
    backend: LlamaBackend, tokens: list[int], length: int = LENGTH, **fields: Any
) -> list[int]:
    """The answer of a server with no other work and an empty cache."""
    return Server(backend).answer(tokens, length, **fields).tokens


def test_what_it_can_do_is_found_out_at_start(backend: LlamaBackend, kind: str) -> None:
    info = backend.info
    assert backend.abilities == CacheAbilities(
        False, can_shift=False, can_checkpoint=True, recomputes_drafts=kind != "sliding"
    )
    assert not info.can_trim
    assert info.n_vocab == N_VOCAB
    assert (info.cell_bytes > 100) == (kind != "recurrent")
    assert (info.state_bytes > 1000) == (kind != "sliding")
    assert (info.window == WINDOW) == (info.window_cell_bytes > 100) == (kind == "sliding")


def test_answers_depend_on_the_prompt(backend: LlamaBackend) -> None:
    answers = {tuple(alone(backend, prompt(60, family))) for family in range(4)}
    assert len(answers) == 4


def test_company_changes_nothing(backend: LlamaBackend) -> None:
    prompts = [prompt(40 + 100 * family, family) for family in range(7)]
    expected = [alone(backend, tokens) for tokens in prompts]
    found = Server(backend).answers(prompts, LENGTH)
    assert [answer.tokens for answer in found] == expected


def test_a_conversation_goes_on_from_what_is_in_the_cache(backend: LlamaBackend) -> None:
    server = Server(backend)
    first = server.answer(prompt(400), LENGTH)
    tokens = [*prompt(400), *first.tokens, *prompt(20, 5)]
    second = server.answer(tokens, LENGTH)
    assert second.num_cached == 400 + LENGTH - 1
    assert second.tokens == alone(backend, tokens)


def test_without_host_memory_a_prefix_that_matches_in_part_is_not_used(
    backend: LlamaBackend,
) -> None:
    server = Server(backend)
    server.answers([prompt(90, family) for family in range(4)], LENGTH)
    tokens = [*prompt(80), *prompt(30, 5)]
    found = server.answer(tokens, LENGTH)
    assert found.num_cached == 0
    assert found.tokens == alone(backend, tokens)


def test_the_same_prompt_twice(backend: LlamaBackend) -> None:
    expected = alone(backend, prompt(70))
    server = Server(backend)
    assert [server.answer(prompt(70), LENGTH).tokens for _ in range(3)] == [expected] * 3
    twins = Server(backend).answers([prompt(70)] * 4, LENGTH)
    assert [answer.tokens for answer in twins] == [expected] * 4


def test_what_left_its_slot_comes_back_from_host_memory(path: Path) -> None:
    backend = open_model(path, n_slots=1, n_ctx=512)
    server = Server(backend, cache_bytes=50_000_000)
    first = server.answer(prompt(90), LENGTH)
    server.answer(prompt(100, 1), LENGTH)
    tokens = [*prompt(90), *first.tokens, *prompt(20, 5)]
    found = server.answer(tokens, LENGTH)
    assert found.num_cached == 90 + LENGTH - 1
    assert found.tokens == alone(backend, tokens)
    assert 0 < server.engine.scheduler.cache.host_cache.size <= 50_000_000
    backend.close()


def test_the_size_of_a_saved_sequence_is_what_it_takes(backend: LlamaBackend) -> None:
    server = Server(backend, cache_bytes=50_000_000)
    server.answers([prompt(100, family) for family in range(8)], LENGTH)
    cache = server.engine.scheduler.cache.host_cache
    sizes = {id: state.nbytes for id, state in backend.context._saved.items()}
    assert len(cache) == len(sizes) == 4 + 8
    for entry in cache:
        assert sizes[entry.id] <= entry.size <= sizes[entry.id] + 1000


def test_preemption_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_model(path, n_ctx=256, kv_unified=True)
    prompts = [prompt(30 + family, family) for family in range(4)]
    expected = [alone(backend, tokens, 80, sampling=ENDLESS) for tokens in prompts]
    preempted: list[Sequence] = []
    server = Server(backend)
    waiting = server.engine.scheduler.waiting
    put_back = waiting.appendleft

    def record(sequence: Sequence) -> None:
        preempted.append(sequence)
        put_back(sequence)

    monkeypatch.setattr(waiting, "appendleft", record)
    found = server.answers(prompts, 80, sampling=ENDLESS)
    assert preempted
    assert [answer.tokens for answer in found] == expected
    backend.close()


def test_a_slot_is_filled_to_its_end(backend: LlamaBackend) -> None:
    size = backend.info.n_ctx_slot
    found = Server(backend).answer(prompt(size - 10), -1, sampling=ENDLESS)
    assert (len(found.tokens), found.reason) == (10, FinishReason.CONTEXT_FULL)


def test_many_slots(path: Path) -> None:
    backend = open_model(path, n_slots=48, n_ctx=48 * 64)
    prompts = [prompt(20 + family, family) for family in range(48)]
    found = Server(backend).answers(prompts, 4)
    assert [answer.tokens for answer in found[::12]] == [
        alone(backend, tokens, 4) for tokens in prompts[::12]
    ]
    backend.close()


def test_a_context_shift_is_refused_where_cells_can_not_be_moved(path: Path) -> None:
    with pytest.raises(LoadError, match=r"--context-shift: .* can't be moved"):
        open_model(path, context_shift=True)


@pytest.fixture
def full_window(tmp_path: Path) -> Iterator[LlamaBackend]:
    """A sliding-window model that keeps the cells behind the window."""
    path = tmp_path / "sliding.gguf"
    MODELS["sliding"](path)
    backend = open_model(path, swa_full=True)
    yield backend
    backend.close()


def test_a_full_cache_under_a_window_is_reused_in_part(full_window: LlamaBackend) -> None:
    assert full_window.abilities == CacheAbilities(can_trim=True, can_copy=True)
    server = Server(full_window)
    server.answer(prompt(150), LENGTH)
    tokens = [*prompt(150)[: 150 - 2 * WINDOW], *prompt(20, 5)]
    found = server.answer(tokens, LENGTH)
    assert found.num_cached == 150 - 2 * WINDOW
    assert found.tokens == alone(full_window, tokens)


def test_a_full_cache_under_a_window_is_shared(full_window: LlamaBackend) -> None:
    prompts = [[*prompt(120), *prompt(20, family)] for family in range(1, 5)]
    expected = [alone(full_window, tokens) for tokens in prompts]
    found = Server(full_window).answers(prompts, LENGTH)
    assert [answer.tokens for answer in found] == expected
    assert [answer.num_cached for answer in found] == [0, 120, 120, 120]


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "deepseek2.gguf"
    mla(path)
    return path


@pytest.mark.parametrize("kv_unified", [False, True])
@pytest.mark.parametrize(("cache_type", "atol"), [("f32", 2e-3), ("f16", 0.01), ("q8_0", 0.06)])
def test_cells_that_all_heads_share_are_cut_copied_and_saved(
    compressed: Path, cache_type: str, atol: float, kv_unified: bool
) -> None:
    """A compressed vector a token (MLA): logits are those of a full computation."""
    types = {"cache_type_k": cache_type, "cache_type_v": cache_type, "flash_attn": "on"}
    backend, full = (open_model(compressed, kv_unified=kv_unified, **types) for _ in range(2))

    def check(slot: int, tokens: list[int], start: int) -> None:
        found = compute(backend, tokens, slot, start)
        full.edit(Trim(0, 0))
        np.testing.assert_allclose(found, compute(full, tokens, 0), atol=atol, rtol=0)

    text = prompt(200)
    check(0, text, 0)
    backend.edit(CopyPrefix(0, 1, 120))
    check(1, [*text[:120], *prompt(40, 5)], 120)
    backend.edit(Trim(0, 150))
    check(0, [*text[:150], *prompt(30, 6)], 150)
    backend.edit(Save(1, 7))
    backend.edit(Trim(1, 0))
    check(1, prompt(50, 8), 0)
    backend.edit(Restore(7, 2, 130))
    check(2, [*text[:120], *prompt(40, 5)[:10], *prompt(20, 9)], 130)
    backend.close()
    full.close()
