"""Samplers on the model's device: texts are the same, and rows that need all logits have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grammars.constraint import LLGuidanceGrammar
from protocol.commands import DraftMethod, Speculation
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from tests.support.backends import make_backend, text_tokens
from tests.support.engines import Answer, Server
from tests.support.sampler_cases import PENALISED
from tests.support.tiny_models import MODELS, encoder

LENGTH = 16
N_SLOTS = 4

ON_DEVICE: dict[str, dict[str, Any]] = {
    "defaults": {},
    "greedy": {"temperature": 0.0},
    "penalties": PENALISED,
    "penalties at zero": {**PENALISED, "temperature": 0.0},
    "dry": {"dry_multiplier": 0.8},
    "top_k": {"top_k": 5, "temperature": 1.5},
    "top_k of one": {"top_k": 1},
    "largest top_k": {"top_k": 127, "min_p": 0.0, "top_p": 1.0, "temperature": 2.0},
    "typ_p": {"typical_p": 0.8},
    "top_p": {"top_p": 0.5},
    "min_p": {"min_p": 0.3},
    "xtc": {"xtc_probability": 0.7, "xtc_threshold": 0.05},
    "temperature": {"temperature": 1.7},
    "dynamic temperature": {"temperature": 1.0, "dynatemp_range": 0.8, "dynatemp_exponent": 1.2},
    "adaptive_p": {"samplers": ("top_k", "adaptive_p"), "adaptive_target": 0.3},
    "infill": {"samplers": ("top_k", "infill")},
    "min_keep": {"min_keep": 3, "top_p": 0.01},
    "bans": {"logit_bias": ((300, float("-inf")), (301, -2.0))},
    "probabilities after sampling": {"top_logprobs": 3, "post_sampling_probs": True},
}
NEEDS_ALL: dict[str, dict[str, Any]] = {
    "lifting penalties": {"repeat_penalty": 0.8, "presence_penalty": -0.5},
    "penalties of all tokens": {**PENALISED, "repeat_last_n": -1},
    "lifting bias": {"logit_bias": ((300, 3.0),)},
    "dry of all tokens": {"dry_multiplier": 0.8, "dry_penalty_last_n": -1},
    "large top_k": {"top_k": 200},
    "no top_k": {"top_k": 0},
    "top_n_sigma": {"top_n_sigma": 2.0},
    "mirostat": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2},
    "another order": {"samplers": ("temperature", "min_p", "top_k")},
    "none": {"samplers": ()},
    "log-probabilities": {"top_logprobs": 3},
    "log-probability at zero": {"top_logprobs": 0, "temperature": 0.0},
}
SAMPLERS = {**ON_DEVICE, **NEEDS_ALL}
everything = pytest.mark.parametrize("fields", SAMPLERS.values(), ids=SAMPLERS)


@pytest.fixture(scope="module", params=["partitioned", "unified"])
def backend(request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    backend = make_backend(
        n_slots=N_SLOTS, kv_unified=request.param == "unified", max_draft_tokens=4
    )
    yield backend
    backend.close()


def request(number: int, on_device: bool, sampling: dict[str, Any], **fields: Any) -> Any:
    params = SamplingParams(seed=number, backend_sampling=on_device, **sampling)
    return {"prompt": text_tokens(12, number), "sampling": params, **fields}


def texts(answers: list[Answer]) -> list[list[int]]:
    assert not any(answer.message for answer in answers)
    return [answer.tokens for answer in answers]


def attached(backend: LlamaBackend) -> list[int]:
    """Slots with a sampler."""
    return [slot for slot in range(N_SLOTS) if slot in backend.context.device_samplers.by_slot]


@everything
def test_a_seed_gives_the_same_text(backend: LlamaBackend, fields: dict[str, Any]) -> None:
    found = [
        texts(
            Server(backend).answers_of([request(i, is_on, fields) for i in range(N_SLOTS)], LENGTH)
        )
        for is_on in (False, True, False)
    ]
    assert found[0] == found[1] == found[2]
    assert all(found[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_only_sequences_that_need_few_tokens_are_sampled_there(
    backend: LlamaBackend, name: str
) -> None:
    Server(backend).answers_of([request(1, True, SAMPLERS[name])], 2)
    assert len(attached(backend)) == (name in ON_DEVICE)
    Server(backend).answers_of([request(i, False, {}) for i in range(N_SLOTS)], 2)
    assert attached(backend) == []


def test_sequences_of_all_kinds_run_together(backend: LlamaBackend) -> None:
    grammar = LLGuidanceGrammar("start: /[a-z ]{30}/")

    def answers(*, every: int) -> list[list[int]]:
        """With `every` 3, two of three requests ask for the device."""
        kinds = enumerate(SAMPLERS.values())
        mixed = [request(i, i % every > 0, kind) for i, kind in kinds]
        mixed.insert(5, request(90, every > 1, {}, constraint=grammar))
        return texts(Server(backend).answers_of(mixed, LENGTH))

    expected = answers(every=1)
    assert answers(every=2) == expected
    assert answers(every=3) == expected


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {}, {"top_k": 3}, PENALISED])
def test_drafts_are_verified_there(backend: LlamaBackend, sampling: dict[str, Any]) -> None:
    speculation = Speculation(methods=(DraftMethod.NGRAM_SIMPLE,), n_max=4)
    prompt = text_tokens(6) * 8
    found = []
    for is_on in (False, True):
        params = SamplingParams(seed=3, backend_sampling=is_on, **sampling)
        fields = {"prompt": prompt, "sampling": params}
        found.append(
            texts(Server(backend).answers_of([{**fields, "speculation": speculation}] * 2, 40))
        )
        found.append(texts(Server(backend).answers_of([fields] * 2, 40)))
    assert found[0] == found[1] == found[2] == found[3]


def test_prompts_are_scored_in_slots_that_had_a_sampler(backend: LlamaBackend) -> None:
    server = Server(backend)
    server.answers_of([request(i, True, {}) for i in range(N_SLOTS)], 3)
    assert attached(backend) == list(range(N_SLOTS))
    scored = request(1, True, {"top_logprobs": 2}, score_prompt=True)
    first = Server(backend).answers_of([scored], 3)
    assert len(attached(backend)) == N_SLOTS - 1
    assert first[0].tokens == Server(backend).answers_of([request(1, False, {})], 3)[0].tokens


@pytest.mark.parametrize("name", MODELS)
def test_other_memories_give_the_same_text_too(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    MODELS[name](path)
    backend = make_backend(model_path=str(path), n_slots=3, backend_sampling=True)
    on, off = (
        texts(
            Server(backend).answers_of(
                [
                    {
                        "prompt": [5 + number, 7, 9, 11 + number],
                        "sampling": SamplingParams(seed=number, backend_sampling=is_on, top_k=9),
                    }
                    for number in range(5)
                ],
                LENGTH,
            )
        )
        for is_on in (True, False)
    )
    assert on == off
    backend.close()


def test_an_encoder_has_no_samplers(tmp_path: Path) -> None:
    path = tmp_path / "encoder.gguf"
    encoder(path)
    backend = make_backend(model_path=str(path), embeddings=True, backend_sampling=True)
    assert attached(backend) == []
    backend.close()


def test_a_server_may_begin_with_a_sampler_in_each_slot() -> None:
    backend = make_backend(n_slots=N_SLOTS, backend_sampling=True, warmup=True)
    assert attached(backend) == list(range(N_SLOTS))
    on, off = (
        texts(Server(backend).answers_of([request(i, is_on, {}) for i in range(6)], LENGTH))
        for is_on in (True, False)
    )
    assert on == off
    backend.close()
