"""Speculative decoding with the demo models changes how fast answers come, and nothing else."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grammars.constraint import GbnfGrammar
from protocol.commands import DraftMethod, Speculation
from protocol.config import DraftConfig, NgramConfig
from protocol.events import Finished, FinishReason, Generated, TokenLogprobs
from protocol.sampling import SamplingParams
from scheduler.backends.base import LoadError
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import CopyPrefix, Drop, Restore, Save, Trim
from scheduler.core.host_memory import HostMemory
from scheduler.engine.engine import Engine
from server.model.tokenizer import LlamaTokenizer
from tests.support.backends import TARGET, make_backend, text_tokens
from tests.support.paths import DEMO_DRAFT
from tests.support.requests import add_request
from tests.support.tiny_models import single_layer

LAYOUTS: dict[str, dict[str, Any]] = {
    "partitioned": {"n_ctx": 4 * 512},
    "unified": {"kv_unified": True, "n_ctx": 1024},
}
METHODS = {
    "model": (DraftMethod.MODEL,),
    "n-grams": (DraftMethod.NGRAM_SIMPLE,),
    "shared n-grams": (DraftMethod.NGRAM_MOD,),
    "all": tuple(DraftMethod),
}
QUESTIONS = (
    "What is the capital of France?",
    "Count from 3 to 30.",
    "What is 23 + 45?",
    "Tell me a short story.",
    "Repeat: a red fox, a red fox, a red fox and a blue bird.",
)
GREEDY = SamplingParams(temperature=0.0)


@dataclass
class Answer:
    """What one request got, and what was drafted for it."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    num_drafted: int = 0
    num_accepted: int = 0
    reason: FinishReason | None = None


@pytest.fixture(scope="module", params=LAYOUTS)
def backend(request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    draft = DraftConfig(model_path=str(DEMO_DRAFT))
    backend = make_backend(
        draft=draft, max_draft_tokens=16, flash_attn="off", **LAYOUTS[request.param]
    )
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    tokenizer = LlamaTokenizer(TARGET)
    return [
        tokenizer.tokenize(
            f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
            add_special=False,
            parse_special=True,
        )
        for question in QUESTIONS
    ]


def speculation(*methods: DraftMethod, n_max: int = 8, **fields: Any) -> Speculation:
    return Speculation(methods=methods or (DraftMethod.MODEL,), n_max=n_max, **fields)


def answers(
    backend: LlamaBackend, requests: list[dict[str, Any]], *, cache_bytes: int = 0
) -> list[Answer]:
    """All requests at once, on an engine that drafts as far as allowed."""
    for slot in range(backend.info.n_slots):
        backend.edit(Trim(slot, 0))
    ngram = NgramConfig(simple_size=3, shared_size=3)
    engine = Engine(
        backend, time.monotonic, itl_target=0.1, host_memory=HostMemory(cache_bytes), ngram=ngram
    )
    found = {}
    for number, request in enumerate(requests):
        fields = {"sampling": GREEDY, "max_tokens": 100, **request}
        engine.add_request(add_request(request_id=number, **fields))
        found[number] = Answer()
    while any(answer.reason is None for answer in found.values()):
        engine.admit_prepared()
        for event in engine.step().outputs().events:
            answer = found[event.request_id]
            if isinstance(event, Generated):
                answer.tokens += event.tokens
                answer.logprobs += event.logprobs
                answer.num_drafted += event.num_draft_tokens
                answer.num_accepted += event.num_accepted_tokens
            elif isinstance(event, Finished):
                assert event.reason != FinishReason.FAILED, event.message
                answer.reason = event.reason
    return list(found.values())


def both(
    backend: LlamaBackend, requests: list[dict[str, Any]], wish: Speculation
) -> tuple[list[Answer], list[Answer]]:
    """The answers without and with drafts."""
    return (
        answers(backend, requests),
        answers(backend, [{**request, "speculation": wish} for request in requests]),
    )


@pytest.mark.parametrize("methods", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.5])
def test_the_same_seed_gives_the_same_text(
    backend: LlamaBackend,
    prompts: list[list[int]],
    methods: tuple[DraftMethod, ...],
    temperature: float,
) -> None:
    sampling = SamplingParams(temperature=temperature, seed=11, repeat_penalty=1.05)
    requests = [{"prompt": prompt, "sampling": sampling} for prompt in prompts]
    plain, drafted = both(backend, requests, speculation(*methods))
    assert [a.tokens for a in drafted] == [a.tokens for a in plain]
    assert sum(a.num_accepted for a in drafted) > 0


def test_most_tokens_of_the_draft_model_are_accepted(
    backend: LlamaBackend, prompts: list[list[int]]
) -> None:
    requests = [{"prompt": prompt, "speculation": speculation(n_max=3)} for prompt in prompts]
    found = answers(backend, requests)
    accepted, drafted = sum(a.num_accepted for a in found), sum(a.num_drafted for a in found)
    assert accepted / drafted > 0.6
    assert sum(len(a.tokens) for a in found) > accepted > 0


def test_the_draft_draws_with_the_random_numbers_of_the_model(prompts: list[list[int]]) -> None:
    """If the draft model is the model itself, all its tokens are accepted, at any temperature."""
    backend = make_backend(
        draft=DraftConfig(model_path=str(TARGET)),
        max_draft_tokens=4,
        flash_attn="off",
        **LAYOUTS["partitioned"],
    )
    sampling = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    requests = [
        {"prompt": prompt, "sampling": sampling, "speculation": speculation(n_max=4)}
        for prompt in prompts
    ]
    found = answers(backend, requests)
    backend.close()
    assert sum(a.num_accepted for a in found) > 0.98 * sum(a.num_drafted for a in found)


def test_log_probabilities_are_those_of_the_model(
    backend: LlamaBackend, prompts: list[list[int]]
) -> None:
    sampling = SamplingParams(temperature=0.0, top_logprobs=3)
    requests = [{"prompt": prompt, "sampling": sampling} for prompt in prompts[:3]]
    for one, other in zip(*both(backend, requests, speculation()), strict=True):
        assert other.num_accepted > 0
        assert len(other.logprobs) == len(other.tokens)
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=0.1)
            assert [token for token, _ in a.top[:1]] == [token for token, _ in b.top[:1]]


def test_constraints_hold_and_mask_the_draft(
    backend: LlamaBackend, prompts: list[list[int]]
) -> None:
    grammar = GbnfGrammar('root ::= "[" item ("," item){5} "]"\nitem ::= [0-9]{1,3}')
    requests = [{"prompt": prompt, "constraint": grammar} for prompt in prompts[:3]]
    plain, drafted = both(backend, requests, speculation())
    assert [a.tokens for a in drafted] == [a.tokens for a in plain]
    assert sum(a.num_accepted for a in drafted) > 0


def test_the_draft_follows_copies_of_prefixes(
    backend: LlamaBackend, prompts: list[list[int]]
) -> None:
    """Four requests share a long prefix. The draft model's cells are copied too, so its tokens
    are still accepted."""
    shared = text_tokens(150)
    requests = [{"prompt": [*shared, *prompt], "max_tokens": 40} for prompt in prompts[:4]]
    plain, drafted = both(backend, requests, speculation())
    assert [a.tokens for a in drafted] == [a.tokens for a in plain]


def test_a_short_cache_is_shared_by_preemption(prompts: list[list[int]]) -> None:
    backend = make_backend(
        draft=DraftConfig(model_path=str(DEMO_DRAFT)),
        max_draft_tokens=8,
        kv_unified=True,
        n_ctx=256,
    )
    requests = [{"prompt": prompt, "max_tokens": 120} for prompt in prompts]
    plain, drafted = both(backend, requests, speculation())
    backend.close()
    assert [a.tokens for a in drafted] == [a.tokens for a in plain]


def test_saved_prefixes_come_back(backend: LlamaBackend, prompts: list[list[int]]) -> None:
    requests = [{"prompt": [*text_tokens(60, i), *prompts[i % 5]]} for i in range(9)]
    again = [*requests, *requests]
    plain = answers(backend, again, cache_bytes=1 << 26)
    wish = speculation()
    drafted = answers(
        backend, [{**request, "speculation": wish} for request in again], cache_bytes=1 << 26
    )
    assert [a.tokens for a in drafted] == [a.tokens for a in plain]


@pytest.mark.parametrize("way", ["copy", "restore"])
def test_a_slot_with_another_prefix_has_no_draft_cells_of_the_one_before(
    backend: LlamaBackend, prompts: list[list[int]], way: str
) -> None:
    """The draft model's cells would tell by its speed what the slot held for somebody else."""
    answers(
        backend,
        [
            {"prompt": prompts[0], "slot": 0, "speculation": speculation(), "max_tokens": 20},
            {"prompt": prompts[1], "slot": 1, "max_tokens": 20},
        ],
    )
    draft_model = backend._draft
    assert draft_model is not None
    assert len(draft_model._held[0]) > 10
    if way == "copy":
        backend.edit(CopyPrefix(1, 0, 10))
    else:
        backend.edit(Save(1, 7))
        backend.edit(Restore(7, 0, 10))
        backend.edit(Drop(7))
    assert draft_model._held[0] == []


def test_a_draft_that_can_not_be_a_draft_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    single_layer(other)
    with pytest.raises(LoadError, match="another vocabulary"):
        make_backend(draft=DraftConfig(model_path=str(other)), max_draft_tokens=4)


def test_the_distribution_is_the_models(prompts: list[list[int]]) -> None:
    """At each place of an answer, tokens are distributed as without drafts.

    20,000 tokens at temperature 1 with other seeds; a chi-squared test of two samples.
    """
    backend = make_backend(draft=DraftConfig(model_path=str(DEMO_DRAFT)), max_draft_tokens=8)
    length, count = 10, 1000
    samples = []
    for wish, first_seed in ((None, 0), (speculation(), count)):
        requests = [
            {
                "prompt": prompts[3],
                "max_tokens": length,
                "speculation": wish,
                "sampling": SamplingParams(
                    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=first_seed + i
                ),
            }
            for i in range(count)
        ]
        samples.append([answer.tokens for answer in answers(backend, requests)])
    backend.close()
    for place in range(length):
        counts = [Counter(t[place] for t in sample if len(t) > place) for sample in samples]
        assert p_value(*counts) > 0.001, place


def p_value(a: Counter[int], b: Counter[int]) -> float:
    """The p-value of two samples coming from one distribution.

    Pearson's statistic over the tokens that were seen at least ten times; all other tokens count
    as one. The chi-squared distribution is approximated after Wilson and Hilferty.
    """
    common = [token for token in a.keys() | b.keys() if a[token] + b[token] >= 10]
    pairs = [(a[token], b[token]) for token in common]
    pairs.append((a.total() - sum(x for x, _ in pairs), b.total() - sum(y for _, y in pairs)))
    pairs = [pair for pair in pairs if sum(pair) > 0]
    if len(pairs) < 2:
        return 1.0
    share = a.total() / (a.total() + b.total())
    statistic = sum((x - share * (x + y)) ** 2 / (share * (1 - share) * (x + y)) for x, y in pairs)
    freedom = len(pairs) - 1
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))
