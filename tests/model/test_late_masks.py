"""Real constraints on the demo model: texts are the same, whether masks are late or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from grammars import compiler
from grammars.constraint import Constraint, LLGuidanceGrammar
from protocol.commands import DraftMethod, Speculation
from protocol.events import Finished, FinishReason, Generated
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import Trim
from scheduler.engine.engine import Engine
from scheduler.engine.mask_threads import Masks
from tests.support.backends import make_backend, text_tokens
from tests.support.late_masks import LateMasks
from tests.support.requests import add_request

CONSTRAINTS: list[Constraint | None] = [
    LLGuidanceGrammar("start: /[a-z ,.]{60}/"),
    compiler.from_json_schema({"type": "array", "items": {"type": "integer"}, "maxItems": 9}),
    None,
    compiler.lazy(
        LLGuidanceGrammar("start: /[a-d ]{30}/"), tokens=tuple(range(300, 900)), keep_trigger=False
    ),
]

AMBIGUOUS = {
    "of the report": """root ::= e
e ::= e e | e [a-z] e | [a-z ] | "(" e ")" | e " " e""",
    "empty": 'root ::= x\nx ::= x x x | [a-z ] | ""',
    "left and right": "root ::= s\ns ::= s t | t s | t\nt ::= s | [a-z]+ | [ ]",
}


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = make_backend()
    yield backend
    backend.close()


def answers(
    backend: LlamaBackend,
    constraints: list[Constraint | None],
    masks: Masks | None = None,
    **fields: Any,
) -> tuple[list[list[int]], list[Finished]]:
    """The tokens and the ends of answers that run at the same time."""
    for slot in range(backend.info.n_slots):
        backend.edit(Trim(slot, 0))
    engine = Engine(backend, time.monotonic, itl_target=0.1, masks=masks)
    for number, constraint in enumerate(constraints):
        fields = {"max_tokens": 60, **fields}
        prompt = text_tokens(20, number)
        engine.add_request(
            add_request(request_id=number, prompt=prompt, constraint=constraint, **fields)
        )
    tokens: list[list[int]] = [[] for _ in constraints]
    ends: dict[int, Finished] = {}
    while len(ends) < len(constraints):
        engine.admit_prepared()
        for event in engine.step().outputs().events:
            if isinstance(event, Generated):
                tokens[event.request_id] += event.tokens
            elif isinstance(event, Finished):
                ends[event.request_id] = event
    engine.samplers.close()
    return tokens, [ends[number] for number in sorted(ends)]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=0.9, seed=5),
        SamplingParams(temperature=1.2, seed=9, top_k=0, top_p=0.9, repeat_penalty=1.2),
        SamplingParams(temperature=0.7, seed=6, top_logprobs=3),
        SamplingParams(temperature=0.8, seed=7, mirostat=2),
    ],
    ids=["greedy", "defaults", "penalties", "logprobs", "mirostat"],
)
def test_texts_are_the_same_whether_masks_are_late_or_not(
    backend: LlamaBackend, sampling: SamplingParams
) -> None:
    in_time = answers(backend, CONSTRAINTS, LateMasks([0]), sampling=sampling)
    for delays in ([1], [3, 0, 7, 0], [12]):
        late = answers(backend, CONSTRAINTS, LateMasks(delays), sampling=sampling)
        assert late == in_time
    assert answers(backend, CONSTRAINTS, sampling=sampling) == in_time


def test_texts_are_the_same_with_drafts(backend: LlamaBackend) -> None:
    fields: dict[str, Any] = {
        "sampling": SamplingParams(temperature=0.8, seed=3),
        "speculation": Speculation(methods=(DraftMethod.NGRAM_SIMPLE,), n_max=6),
    }
    in_time = answers(backend, CONSTRAINTS, LateMasks([0]), **fields)
    assert answers(backend, CONSTRAINTS, LateMasks([0, 2, 0, 5]), **fields) == in_time


@pytest.mark.parametrize("grammar", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_grammar_ends_with_an_error_of_its_own(
    backend: LlamaBackend, grammar: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less time than usual, so that the test is short."""
    monkeypatch.setattr("scheduler.engine.constraint_time.FREE_SECONDS", 0.1)
    monkeypatch.setattr("scheduler.engine.constraint_time.SECONDS_PER_TOKEN", 0.0001)
    sampling = SamplingParams(temperature=1.0, seed=1)
    constraints: list[Constraint | None] = [compiler.from_gbnf(grammar), None]
    tokens, ends = answers(backend, constraints, sampling=sampling, max_tokens=200)
    assert ends[0].reason is FinishReason.REFUSED
    assert "too slow" in ends[0].message
    alone, _ = answers(backend, [None, None], sampling=sampling, max_tokens=200)
    assert tokens[1] == alone[1]
