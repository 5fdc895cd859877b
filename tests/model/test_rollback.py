"""Drafts on memories that can't drop a tail: wrong tokens are taken back, nothing else changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import llama_cpp as lib
from msgspec.structs import replace

from protocol.commands import DraftMethod, Speculation
from protocol.config import DraftConfig, NgramConfig
from protocol.sampling import SamplingParams
from scheduler.backends.base import LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.backends.llama.candidates import Logits
from scheduler.backends.llama.loading import MAX_SNAPSHOTS
from scheduler.batching.grouping import Grouping
from scheduler.core.cache_edits import (
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    SaveCheckpoint,
    Trim,
)
from scheduler.core.sequence import MAX_RUN
from scheduler.core.step import Chunk
from tests.support.backends import chunk, compute, make_backend
from tests.support.engines import Answer, Server
from tests.support.tiny_models import ARCHITECTURES, WINDOW, single_layer

WINDOWED = ("gemma2", "gemma3", "gemma3n", "gpt-oss")
RECURRENT = ("qwen35", "lfm2")
"""Those of which llama.cpp keeps earlier states."""
RECOMPUTED = ("mamba", "mamba2", "jamba", "granite")
"""Recurrent ones of which it keeps none."""

N_UBATCH = 64
N_SLOTS = 4
N_CTX_SLOT = 512
LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {},
    "unified": {"kv_unified": True},
    "unified q8_0": {
        "kv_unified": True,
        "cache_type_k": "q8_0",
        "cache_type_v": "q8_0",
        "flash_attn": "on",
    },
}
TOLERANCE = {"partitioned": 2e-3, "unified": 2e-3, "unified q8_0": 0.02}
"""Largest difference of logits, which lie around 2. Cells in another order round otherwise."""

FEW_WORDS = SamplingParams(
    temperature=0.0, logit_bias=((2, float("-inf")), *((token, 20.0) for token in range(20, 26)))
)
"""Answers of six different tokens and without an end: some drafts of random models are right."""


LENGTH = 24


def prompt(length: int, family: int = 0) -> list[int]:
    """Bytes of the vocabulary; prompts of different families differ from the first byte on."""
    return [3 + (53 * family + 31 * index + index * index // 5) % 256 for index in range(length)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, write in ARCHITECTURES.items():
        write(folder / f"{name}.gguf")
    return folder


def open_model(path: Path, **fields: Any) -> LlamaBackend:
    """A model with micro-batches so small that llama.cpp drops cells behind the window."""
    fields = {
        "n_slots": N_SLOTS,
        "n_ctx": N_SLOTS * N_CTX_SLOT,
        "n_ubatch": N_UBATCH,
        "cache_type_k": "f32",
        "cache_type_v": "f32",
        "flash_attn": "off",
        "max_draft_tokens": 48,
        **fields,
    }
    return make_backend(model_path=str(path), **fields)


@pytest.fixture(scope="module", params=[*WINDOWED, *RECURRENT, *RECOMPUTED])
def path(request: pytest.FixtureRequest, folder: Path) -> Path:
    return folder / f"{request.param}.gguf"


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, path: Path) -> str:
    name: str = request.param
    if "q8_0" in name and path.stem in ("gemma2", "jamba", "granite"):
        pytest.skip("the model's heads are too small for quantized cells")
    return name


@pytest.fixture
def backend(path: Path, layout: str) -> Iterator[LlamaBackend]:
    backend = open_model(path, **LAYOUTS[layout])
    yield backend
    backend.close()


def test_how_much_can_be_taken_back_is_found_out_at_start(backend: LlamaBackend) -> None:
    name = Path(backend.config.model_path).stem
    expected = MAX_SNAPSHOTS if name in RECURRENT else N_UBATCH - MAX_RUN
    assert backend.abilities.max_draft == backend.abilities.max_rollback == expected
    assert not backend.abilities.can_trim
    assert backend.abilities.recomputes_drafts == (name in RECOMPUTED)
    assert backend.abilities.can_checkpoint


@pytest.mark.parametrize("name", ["gemma3", "lfm2", "mamba"])
def test_micro_batches_without_room_for_a_draft_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(LoadError, match="--spec-type"):
        open_model(folder / f"{name}.gguf", n_ubatch=2)


class Walk:
    """Random texts in the slots of a model, which are drafted for, cut, copied and saved."""

    def __init__(self, backend: LlamaBackend, seed: int) -> None:
        self.chance = random.Random(seed)
        self.backend = backend
        self.texts: list[list[int]] = [[] for _ in range(N_SLOTS)]
        self.checkpoints: dict[int, list[int]] = {}
        self.prefixes: dict[int, list[int]] = {}
        self.num_rejected = 0

    def step(self) -> None:
        """Compute something in some slots: texts, or a few tokens with a draft."""
        slots = sorted(self.chance.sample(range(N_SLOTS), self.chance.randint(1, N_SLOTS)))
        room = self.backend.n_batch // N_SLOTS - 3
        length = self.chance.randint(1, min(self.backend.abilities.max_draft, room))
        chunks = [self._chunk(slot, length) for slot in slots]
        for batch in Grouping(None, self.backend.layout).batches(chunks):
            self.backend.decode(batch.chunks)
            verified = [(done, self._verify(done)) for done in batch.chunks if done.draft]
            wrong = [(done, count) for done, count in verified if count < len(done.draft)]
            if wrong:
                self.backend.keep_right(wrong)
            for done, _ in verified:
                self._check_window(done.slot)

    def _chunk(self, slot: int, length: int) -> Chunk:
        text, chance = self.texts[slot], self.chance
        if len(text) > N_CTX_SLOT - 150:
            self.backend.edit(Trim(slot, 0))
            text.clear()
        start = len(text)
        is_answer = start > 0 and chance.random() < 0.8
        most = min(120, self.backend.n_batch // N_SLOTS)
        text += self._words(chance.randint(1, 3) if is_answer else chance.randint(5, most))
        draft: list[int] = []
        if is_answer and chance.random() < 0.8:  # neighbours often have drafts of one length
            draft = self._words(length if chance.random() < 0.5 else chance.randint(1, length))
        answer = chunk(text, slot, start)
        return replace(answer, draft=tuple(draft), is_decode=is_answer)

    def _words(self, count: int) -> list[int]:
        return [self.chance.randint(3, 258) for _ in range(count)]

    def _verify(self, done: Chunk) -> int:
        """How many tokens of a draft are right."""
        num_right = self.chance.choice([0, self.chance.randint(0, len(done.draft))])
        self.texts[done.slot] += done.draft[:num_right]
        self.num_rejected += len(done.draft) - num_right
        return num_right

    def _check_window(self, slot: int) -> None:
        """All cells that the next token sees are there."""
        if self.backend.context.memory.is_recurrent:
            return
        first = lib.llama_memory_seq_pos_min(self.backend.context._memory, slot)
        assert 0 <= first <= max(len(self.texts[slot]) + 1 - WINDOW, 0)

    def edit(self) -> None:
        """Save or restore something, or copy a slot."""
        slot, other = self.chance.sample(range(N_SLOTS), 2)
        action = self.chance.choice(["save", "restore", "copy", "mark", "back"])
        text = self.texts[slot]
        if action == "save":
            self._drop(slot, self.prefixes)
            self.backend.edit(Save(slot, slot))
            self.prefixes[slot] = list(text)
        elif action == "restore" and other in self.prefixes:
            self.texts[slot] = list(self.prefixes[other])
            self.backend.edit(Restore(other, slot, len(self.texts[slot])))
        elif action == "copy":
            self.backend.edit(CopyPrefix(slot, other, len(text)))
            self.texts[other] = list(text)
        elif action == "mark" and text:
            self._drop(10 + slot, self.checkpoints)
            self.backend.edit(SaveCheckpoint(slot, 10 + slot))
            self.checkpoints[10 + slot] = list(text)
        elif action == "back":
            self._go_back(slot)

    def _go_back(self, slot: int) -> None:
        for id, text in self.checkpoints.items():
            if self.texts[slot][: len(text)] == text:
                self.backend.edit(RestoreCheckpoint(id, slot, len(text)))
                self.texts[slot] = list(text)

    def _drop(self, id: int, saved: dict[int, list[int]]) -> None:
        if saved.pop(id, None) is not None:
            self.backend.edit(Drop(id))

    def found(self, slot: int) -> Logits:
        """The logits after one more token."""
        self.texts[slot].append(9)
        return compute(self.backend, self.texts[slot], slot, len(self.texts[slot]) - 1)


@pytest.mark.parametrize("seed", range(2))
def test_after_a_random_walk_logits_are_those_of_a_full_computation(
    backend: LlamaBackend, path: Path, layout: str, seed: int
) -> None:
    reference = open_model(path, **LAYOUTS[layout])
    walk = Walk(backend, seed)
    for round in range(60):
        walk.step()
        if walk.chance.random() < 0.4:
            walk.edit()
        if round % 6 == 5:
            for slot in range(N_SLOTS):
                found = walk.found(slot)
                reference.edit(Trim(0, 0))
                compute(reference, walk.texts[slot], 0, 0, len(walk.texts[slot]) - 1)
                expected = compute(reference, walk.texts[slot], 0, len(walk.texts[slot]) - 1)
                np.testing.assert_allclose(found, expected, atol=TOLERANCE[layout], rtol=0)
    reference.close()
    assert walk.num_rejected > 200


METHODS = {
    "model": (DraftMethod.MODEL,),
    "n-grams": (DraftMethod.NGRAM_SIMPLE,),
    "all": tuple(DraftMethod),
}


@pytest.fixture(scope="module")
def drafting(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[bool, LlamaBackend]]:
    """The model with a draft model that is often wrong; by whether slots share their cells."""
    draft = tmp_path_factory.mktemp("drafts") / "draft.gguf"
    single_layer(draft)
    config = DraftConfig(model_path=str(draft), cache_type_k="f32", cache_type_v="f32")
    backends = {
        unified: open_model(path, draft=config, kv_unified=unified) for unified in (False, True)
    }
    yield backends
    for backend in backends.values():
        backend.close()


@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize("methods", METHODS.values(), ids=METHODS)
def test_texts_are_those_without_drafts(
    drafting: dict[bool, LlamaBackend], methods: tuple[DraftMethod, ...], unified: bool
) -> None:
    found = converse(drafting[unified], methods)
    assert 0 < sum(a.num_accepted for a in found) < sum(a.num_drafted for a in found)


def converse(backend: LlamaBackend, methods: tuple[DraftMethod, ...]) -> list[Answer]:
    """Conversations that branch; checks that drafts change none of their answers."""
    wish = Speculation(methods=methods, n_max=20)
    walk = random.Random(11)
    ngram = NgramConfig(simple_size=1, shared_size=1)
    server = Server(backend, cache_bytes=50_000_000, ngram=ngram)
    talks = [prompt(200, family) for family in range(2)]
    asked: list[list[int]] = []
    found: list[Answer] = []
    for count in (2, 5):
        cuts = [walk.choice(talks)[: walk.choice([150, 400])] for _ in range(count)]
        prompts = [[*cut, *prompt(walk.randint(5, 40), 3 + i)] for i, cut in enumerate(cuts)]
        said = server.answers(prompts, LENGTH, sampling=FEW_WORDS, speculation=wish)
        talks += [[*a, *b.tokens][:400] for a, b in zip(prompts, said, strict=True)]
        asked += prompts
        found += said
    expected = Server(backend).answers(asked, LENGTH, sampling=FEW_WORDS)
    assert [answer.tokens for answer in found] == [answer.tokens for answer in expected]
    assert sum(answer.num_cached for answer in found) > 200
    return found


@pytest.fixture(params=[False, True])
def drafted_by_itself(path: Path, request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    """A model with windows that is its own draft model."""
    if path.stem not in WINDOWED:
        pytest.skip("recurrent models don't draft")
    draft = DraftConfig(model_path=str(path), cache_type_k="f32", cache_type_v="f32")
    backend = open_model(path, draft=draft, kv_unified=request.param)
    yield backend
    backend.close()


def test_a_model_with_windows_drafts_rightly(drafted_by_itself: LlamaBackend) -> None:
    """Its drafts for itself are right, wherever the conversations branch."""
    found = converse(drafted_by_itself, (DraftMethod.MODEL,))
    assert sum(a.num_accepted for a in found) > 0.98 * sum(a.num_drafted for a in found) > 0


def test_a_model_with_windows_drafts_between_lookups(drafted_by_itself: LlamaBackend) -> None:
    """Wrong tokens of other drafts are dropped from its windows too."""
    found = converse(drafted_by_itself, (DraftMethod.NGRAM_SIMPLE, DraftMethod.MODEL))
    assert 0 < sum(a.num_accepted for a in found) < sum(a.num_drafted for a in found)


@pytest.mark.parametrize("draft", ["mamba", "lfm2", "qwen35", "granite"])
def test_a_recurrent_model_does_not_draft(folder: Path, draft: str) -> None:
    with pytest.raises(LoadError, match=r"--model-draft: .* recurrent"):
        open_model(
            folder / "gemma3.gguf", draft=DraftConfig(model_path=str(folder / f"{draft}.gguf"))
        )
