"""Checkpoints of real memories: the same logits as after computing all tokens."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.commands import RestoreSlot, SaveSlot, SlotCommand
from protocol.messages import SlotChanged
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import (
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    SaveCheckpoint,
    Trim,
)
from tests.support.backends import compute, make_backend
from tests.support.engines import Answer, Server
from tests.support.tiny_models import ARCHITECTURES

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {},
    "unified": {"kv_unified": True},
    "f16": {"cache_type_k": "f16", "cache_type_v": "f16"},
    "unified q8_0": {
        "kv_unified": True,
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "flash_attn": "on",
    },
}
TOLERANCE = {"partitioned": 2e-4, "unified": 2e-4, "f16": 0.02, "unified q8_0": 0.05}
"""Largest difference of logits, which lie around 2. Cells in another order round otherwise."""

COMMON = 150
LENGTH = 12


def prompt(length: int, family: int = 0) -> list[int]:
    """Bytes of the vocabulary; prompts of different families differ from the first byte on."""
    return [3 + (53 * family + 31 * index + index * index // 5) % 256 for index in range(length)]


TOKENS = prompt(300)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    ARCHITECTURES[request.param](path)
    return path


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def backend(path: Path, layout: str) -> Iterator[LlamaBackend]:
    """A model with micro-batches so small that llama.cpp drops cells behind the window."""
    if "q8_0" in layout and path.stem in ("gemma2", "jamba"):
        pytest.skip("the model's heads are too small for quantized cells")
    fields = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off", **LAYOUTS[layout]}
    backend = make_backend(model_path=str(path), n_slots=3, n_ctx=3 * 768, n_ubatch=32, **fields)
    yield backend
    backend.close()


def test_a_slot_goes_back_to_its_checkpoint(backend: LlamaBackend, layout: str) -> None:
    compute(backend, TOKENS, 0, 0, COMMON)
    backend.edit(SaveCheckpoint(0, 7))
    expected = compute(backend, TOKENS, 0, COMMON, 180)
    compute(backend, TOKENS, 0, 180, 300)
    for _ in range(2):
        backend.edit(RestoreCheckpoint(7, 0, COMMON))
        found = compute(backend, TOKENS, 0, COMMON, 180)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE[layout], rtol=0)
    backend.edit(Drop(7))


@pytest.mark.parametrize("through_host_memory", [False, True])
def test_another_slot_takes_a_checkpoint(
    backend: LlamaBackend, layout: str, through_host_memory: bool
) -> None:
    compute(backend, TOKENS, 0, 0, COMMON)
    backend.edit(SaveCheckpoint(0, 7))
    compute(backend, TOKENS, 0, COMMON, 300)
    compute(backend, prompt(200, 1), 1)
    other = [*TOKENS[:COMMON], *prompt(60, 2)]
    expected = compute(backend, other, 2)
    if through_host_memory:
        backend.edit(Save(0, 8))
        backend.edit(Trim(0, 0))
        compute(backend, prompt(200, 3), 0)
        backend.edit(Restore(8, 1, 300))
    else:
        backend.edit(CopyPrefix(0, 1, 300))
    backend.edit(RestoreCheckpoint(7, 1, COMMON))
    found = compute(backend, other, 1, COMMON)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE[layout], rtol=0)


def test_a_slot_that_is_copied_whole_is_independent(backend: LlamaBackend, layout: str) -> None:
    compute(backend, TOKENS, 0)
    backend.edit(CopyPrefix(0, 1, 300))
    ends = {0: prompt(200, 4), 1: prompt(200, 5)}
    for start in range(0, 200, 50):  # far enough for every window to move on
        for slot, end in ends.items():
            compute(backend, [*TOKENS, *end], slot, 300 + start, 300 + start + 50)
    for slot, end in ends.items():
        found = compute(backend, [*TOKENS, *end, 9], slot, 500)
        backend.edit(Trim(2, 0))
        compute(backend, [*TOKENS, *end], 2)
        expected = compute(backend, [*TOKENS, *end, 9], 2, 500)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE[layout], rtol=0)


def converse(backend: LlamaBackend, seed: int, rounds: int) -> float:
    """Conversations that branch at random get the answers of an empty server.

    Returns the share of the prompts' tokens that was not computed again.
    """
    walk = random.Random(seed)
    server = Server(backend, cache_bytes=50_000_000)
    talks = [prompt(200, family) for family in range(2)]
    asked: list[list[int]] = []
    answers: list[Answer] = []
    for _ in range(rounds):
        talk = [walk.choice(talks) for _ in range(walk.randint(1, 4))]
        cuts = [walk.choice([150, 180, len(tokens), len(tokens)]) for tokens in talk]
        ends = [prompt(walk.randint(5, 60), walk.randint(3, 9)) for _ in talk]
        prompts = [[*a[:n], *end][:480] for a, n, end in zip(talk, cuts, ends, strict=True)]
        found = server.answers(prompts, LENGTH)
        talks += [[*a, *b.tokens] for a, b in zip(prompts, found, strict=True)]
        asked += prompts
        answers += found
    alone = [Server(backend).answer(tokens, LENGTH).tokens for tokens in asked]
    assert [answer.tokens for answer in answers] == alone
    return sum(answer.num_cached for answer in answers) / sum(map(len, asked))


def act(server: Server, command: SlotCommand) -> None:
    """Save or restore a slot."""
    server.engine.begin_slot_command(command)
    while server.engine.awaits_files:
        for reply in server.engine.take_replies():
            assert isinstance(reply, SlotChanged), reply
        time.sleep(0.001)


@pytest.mark.parametrize("layout", ["partitioned", "unified"])
def test_a_restored_slot_goes_back_to_a_checkpoint_of_its_file(
    backend: LlamaBackend, tmp_path: Path
) -> None:
    file = str(tmp_path / "slot")
    server = Server(backend, cache_bytes=50_000_000)
    server.answer(TOKENS, LENGTH, slot=0, partings=(COMMON,))
    act(server, SaveSlot(1, 0, file))
    server = Server(backend, cache_bytes=50_000_000)
    act(server, RestoreSlot(2, 1, file))
    tokens = [*TOKENS[:COMMON], *prompt(60, 2)]
    found = server.answer(tokens, LENGTH)
    assert found.num_cached == COMMON
    assert found.tokens == Server(backend).answer(tokens, LENGTH).tokens


@pytest.mark.parametrize("layout", ["partitioned", "unified"])
def test_conversations_share_what_they_have_in_common(backend: LlamaBackend) -> None:
    assert converse(backend, seed=3, rounds=6) > 0.6


@pytest.mark.parametrize("seed", [1, 2])
def test_slots_that_have_few_cells_together_share_too(path: Path, seed: int) -> None:
    backend = make_backend(
        model_path=str(path),
        n_slots=4,
        n_ctx=512,
        n_ubatch=32,
        kv_unified=True,
        flash_attn="off",
        cache_type_k="f32",
        cache_type_v="f32",
    )
    assert converse(backend, seed, rounds=5) > 0.3
    backend.close()
