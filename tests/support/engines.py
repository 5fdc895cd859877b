"""Engines on real backends, and their answers at temperature 0."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from protocol.events import EmbeddedEvent, Finished, FinishReason, Generated, Started
from protocol.sampling import SamplingParams
from scheduler.backends.llama.backend import LlamaBackend
from scheduler.core.cache_edits import Trim
from scheduler.engine.engine import Engine
from tests.support.requests import add_request


@dataclass
class Answer:
    """The answer to one request."""

    tokens: list[int] = field(default_factory=list)
    num_cached: int = 0
    reason: FinishReason | None = None
    message: str = ""
    embedding: bytes = b""


class Server:
    """An engine that answers lists of prompts, one list after the other."""

    def __init__(self, backend: LlamaBackend, *, cache_bytes: int = 0) -> None:
        for slot in range(backend.info.n_slots):
            backend.edit(Trim(slot, 0))
        self.engine = Engine(backend, time.monotonic, itl_target=0.1, cache_bytes=cache_bytes)
        self.num_requests = 0

    def answers(self, prompts: list[list[int]], length: int, **fields: Any) -> list[Answer]:
        """Run all prompts at once; return the answers in the order of the prompts."""
        return self.answers_of([{**fields, "prompt": prompt} for prompt in prompts], length)

    def answers_of(self, requests: list[dict[str, Any]], length: int) -> list[Answer]:
        """Run requests that differ in more than their prompts."""
        answers: dict[int, Answer] = {}
        for fields in requests:
            self.num_requests += 1
            answers[self.num_requests] = Answer()
            fields = {"sampling": SamplingParams(temperature=0.0), **fields}
            self.engine.add_request(
                add_request(request_id=self.num_requests, max_tokens=length, **fields)
            )
        while any(answer.reason is None for answer in answers.values()):
            for event in self.engine.step().events:
                _record(answers[event.request_id], event)
        return list(answers.values())

    def answer(self, prompt: list[int], length: int, **fields: Any) -> Answer:
        """Run one prompt without other requests."""
        return self.answers([prompt], length, **fields)[0]


def _record(answer: Answer, event: object) -> None:
    if isinstance(event, Started):
        answer.num_cached = event.num_cached_tokens
    elif isinstance(event, Generated):
        answer.tokens += event.tokens
    elif isinstance(event, EmbeddedEvent):
        answer.embedding = event.vectors
    elif isinstance(event, Finished):
        answer.reason, answer.message = event.reason, event.message
