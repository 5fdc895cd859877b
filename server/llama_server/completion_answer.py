"""One sequence of a native completion: its chunks and its final object."""

from __future__ import annotations

from typing import Any

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
from server.llama_server.completion_request import CompletionRequest
from server.llama_server.generation_settings import request_settings
from server.llama_server.probabilities import probability_entries
from server.llama_server.response_fields import pick_fields
from server.model.adapters import lora_json
from server.requests.sampling_params import ignores_eos


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
        self._texts: list[str] = []
        self._tokens: list[GeneratedToken] = []
        self._has_new_line = False

    def add(self, delta: TextDelta) -> None:
        """Keep a delta for the final object."""
        self._has_new_line = self._has_new_line or "\n" in delta.text
        if not self._body.stream:
            self._texts.append(delta.text)
            self._tokens += delta.tokens

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
        answer = {
            "index": self._index,
            "content": "".join(self._texts),
            "tokens": self._token_ids(ended.end_token),
            "id_slot": ended.slot,
            "stop": True,
            "model": self._context.model_name,
            "tokens_predicted": ended.timings.predicted_n,
            "tokens_evaluated": ended.num_prompt_tokens,
            "generation_settings": self._settings(),
            "prompt": self._context.tokenizer.text(self._request.spec.prompt, special=True),
            "has_new_line": self._has_new_line,
            "truncated": ended.truncated,
            "stop_type": ended.cause.value,
            "stopping_word": ended.stopping_word,
            # The last token of an answer is not in the cache: it was sampled, but not decoded.
            "tokens_cached": ended.num_prompt_tokens + max(ended.timings.predicted_n - 1, 0),
            "timings": timings_json(ended.timings),
        }
        if self._body.n_probs and self._tokens:
            answer["completion_probabilities"] = self._probabilities(self._tokens)
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

    def _token_ids(self, end_token: int | None) -> list[int]:
        """All token ids. In a stream, the ids that no earlier event carried."""
        if not (self._body.return_tokens or self._body.stream):
            return []
        ids = [token.id for token in self._tokens]
        return ids if end_token is None else [*ids, end_token]

    def _settings(self) -> dict[str, Any]:
        ignore_eos = ignores_eos(self._body, self._context.settings)
        settings = request_settings(self._body, self._request, ignore_eos=ignore_eos)
        adapters = self._context.engine.model.adapters
        return {**settings, "lora": lora_json(adapters, self._request.spec.lora)}

    def _probabilities(self, tokens: list[GeneratedToken] | tuple[GeneratedToken, ...]) -> Any:
        return probability_entries(
            tokens, self._context.tokenizer, post_sampling=self._body.post_sampling_probs
        )
