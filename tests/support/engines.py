"""Engines on real backends, which answer lists of prompts at temperature 0."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from protocol.config import NgramConfig
from protocol.events import EmbeddedEvent, Event, Finished, FinishReason, Generated, Started
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import Trim
from scheduler.core.host_memory import HostMemory
from scheduler.engine.engine import Engine
from tests.support.requests import add_request


@dataclass
class Answer:
    """The events of one request, put together."""

    tokens: list[int] = field(default_factory=list)
    num_cached: int = 0
    num_drafted: int = 0
    num_accepted: int = 0
    reason: FinishReason | None = None
    message: str = ""
    embedding: bytes = b""


class Server:
    """An engine that answers lists of prompts, one list after the other."""

    def __init__(
        self,
        backend: LlamaBackend,
        *,
        cache_bytes: int = 0,
        ngram: NgramConfig = NgramConfig(),  # noqa: B008 (frozen)
    ) -> None:
        for slot in range(backend.info.n_slots):
            backend.edit(Trim(slot, 0))
        memory = HostMemory(cache_bytes)
        self.engine = Engine(
            backend, time.monotonic, itl_target=0.1, host_memory=memory, ngram=ngram
        )
        self.num_requests = 0

    def answers(self, prompts: list[list[int]], length: int, **fields: Any) -> list[Answer]:
        """Add all prompts at once; returns the answers in their order."""
        return self.answers_of([{**fields, "prompt": prompt} for prompt in prompts], length)

    def answers_of(self, requests: list[dict[str, Any]], length: int) -> list[Answer]:
        """Add all requests at once, each with fields of its own."""
        answers: dict[int, Answer] = {}
        for fields in requests:
            self.num_requests += 1
            answers[self.num_requests] = Answer()
            fields = {"sampling": SamplingParams(temperature=0.0), **fields}
            self.engine.add_request(
                add_request(request_id=self.num_requests, max_tokens=length, **fields)
            )
        while any(answer.reason is None for answer in answers.values()):
            self.engine.admit_prepared()
            for event in self.engine.step().outputs().events:
                _record(answers[event.request_id], event)
        return list(answers.values())

    def answer(self, prompt: list[int], length: int, **fields: Any) -> Answer:
        """The answer to one prompt, which runs alone."""
        return self.answers([prompt], length, **fields)[0]


def _record(answer: Answer, event: Event) -> None:
    match event:
        case Started():
            answer.num_cached = event.num_cached_tokens
        case Generated():
            answer.tokens += event.tokens
            answer.num_drafted += event.num_draft_tokens
            answer.num_accepted += event.num_accepted_tokens
        case EmbeddedEvent():
            answer.embedding = event.vectors
        case Finished():
            answer.reason, answer.message = event.reason, event.message
