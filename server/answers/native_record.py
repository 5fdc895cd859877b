"""llama-server's account of one sequence: its text, prompt, settings and counts."""

from __future__ import annotations

from typing import Any

from server.context import ServerContext
from server.generation.timings import timings_json
from server.generation.types import Ended, GenerationRequest, TextDelta
from server.model.adapters import lora_json
from server.requests.generation_settings import request_settings
from server.requests.sampling_fields import SamplingFields
from server.requests.sampling_params import ignores_eos


class NativeRecord:
    """Collects what a sequence yields. The record of a streamed answer doesn't keep its text."""

    def __init__(
        self,
        index: int,
        body: SamplingFields,
        request: GenerationRequest,
        context: ServerContext,
    ) -> None:
        self._index = index
        self._body = body
        self._request = request
        self._context = context
        self._texts: list[str] = []
        self._has_new_line = False
        self._ids: list[int] = []
        """The tokens of an answer in one piece."""

    def add(self, delta: TextDelta) -> None:
        """Note more of the answer."""
        self._has_new_line = self._has_new_line or "\n" in delta.text
        if not self._body.stream:
            self._texts.append(delta.text)
            self._ids += [token.id for token in delta.tokens]

    def final(self, ended: Ended) -> dict[str, Any]:
        """The whole answer as llama-server's native completion shows it."""
        return {
            "index": self._index,
            "content": "".join(self._texts),
            "tokens": self._token_ids(ended),
            "id_slot": ended.slot,
            "stop": True,
            "model": self._context.model_name,
            "tokens_predicted": ended.timings.predicted_n,
            "tokens_evaluated": ended.num_prompt_tokens,
            "generation_settings": self._settings(),
            "prompt": self._context.tokenizer.prompt_text(self._request.spec.prompt),
            "has_new_line": self._has_new_line,
            "truncated": ended.truncated,
            "stop_type": ended.cause.value,
            "stopping_word": ended.stopping_word,
            "tokens_cached": ended.num_cells,
            "timings": timings_json(ended.timings),
        }

    def _token_ids(self, ended: Ended) -> list[int]:
        """All token ids. In a stream, the ids that no earlier event carried."""
        if not (self._body.return_tokens or self._body.stream):
            return []
        ids = self._ids
        return ids if ended.end_token is None else [*ids, ended.end_token.id]

    def _settings(self) -> dict[str, Any]:
        ignore_eos = ignores_eos(self._body, self._context.settings)
        settings = request_settings(self._body, self._request, ignore_eos=ignore_eos)
        adapters = self._context.engine.model.adapters
        # Chats have a field of their own for it.
        own_format = getattr(self._body, "reasoning_format", None)
        settings["reasoning_format"] = own_format or self._context.settings.reasoning_format
        return {**settings, "lora": lora_json(adapters, self._request.spec.lora)}
