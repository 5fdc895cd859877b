"""One sequence of a native completion: its chunks and its final object."""

from __future__ import annotations

from typing import Any

import msgspec

from server.answers.native_record import NativeRecord
from server.context import ServerContext
from server.generation.timings import progress_json, timings_json
from server.generation.types import (
    Ended,
    GeneratedToken,
    GenerationRequest,
    Progress,
    TextDelta,
    Timings,
)
from server.http.json_response import encoded_each
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.probabilities import probability_entries
from server.llama_server.response_fields import pick_fields


class CompletionAnswer:
    """Collects what a sequence yields, and writes JSON. A streamed answer doesn't keep its text."""

    def __init__(
        self,
        index: int,
        body: CompletionRequest,
        request: GenerationRequest,
        context: ServerContext,
    ) -> None:
        self._index = index
        self._body = body
        self._request = request
        self._context = context
        self._record = NativeRecord(index, body, request, context)
        self._kept_probabilities: list[msgspec.Raw] = []

    def add(self, delta: TextDelta) -> None:
        """Keep a delta for the final object."""
        self._record.add(delta)
        if self._body.n_probs and not self._body.stream:
            self._kept_probabilities += self._encoded_probabilities(delta.tokens)

    def chunk(self, delta: TextDelta) -> dict[str, Any]:
        """The event for new text."""
        event = self._event(delta.text, delta.slot, delta.timings)
        event["tokens"] = [token.id for token in delta.tokens]
        if self._body.timings_per_token:
            event["timings"] = timings_json(delta.timings)
        if self._body.n_probs and delta.tokens:
            event["completion_probabilities"] = self._probabilities(delta.tokens)
        return event

    def progress_chunk(self, progress: Progress) -> dict[str, Any]:
        """The event for a computed part of the prompt."""
        timings = Timings(progress.cache, 0, progress.time_ms, 0, 0.0)
        return self._event("", -1, timings) | progress_json(progress)

    def final(self, ended: Ended) -> dict[str, Any]:
        """The whole answer, or the last event of a stream, which doesn't repeat the text."""
        answer = self._record.final(ended)
        entries = self._kept_probabilities
        if self._body.n_probs and ended.end_token is not None:
            entries = [*entries, *self._encoded_probabilities((ended.end_token,))]
        if entries:
            answer["completion_probabilities"] = entries
        return pick_fields(answer, self._body.response_fields)

    def _event(self, content: str, slot: int, timings: Timings) -> dict[str, Any]:
        return {
            "index": self._index,
            "content": content,
            "tokens": [],
            "stop": False,
            "id_slot": slot,
            "tokens_predicted": timings.predicted_n,
            "tokens_evaluated": len(self._request.spec.prompt),
        }

    def _probabilities(self, tokens: tuple[GeneratedToken, ...]) -> list[dict[str, Any]]:
        return probability_entries(
            tokens, self._context.tokenizer, post_sampling=self._body.post_sampling_probs
        )

    def _encoded_probabilities(self, tokens: tuple[GeneratedToken, ...]) -> list[msgspec.Raw]:
        return encoded_each(self._probabilities(tokens))
