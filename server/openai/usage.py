"""The `usage` object: tokens of the prompts and of the answers."""

from __future__ import annotations

from typing import Any

from server.generation.types import Ended


class Usage:
    """Sums over the sequences of one request. A prompt with several answers counts once."""

    def __init__(self, choices_per_prompt: int) -> None:
        self._per_prompt = choices_per_prompt
        self._prompt = 0
        self._cached = 0
        self._completion = 0
        self._reasoning = 0

    def add(self, index: int, ended: Ended, num_reasoning_tokens: int = 0) -> None:
        """Count the sequence with this index, once it has ended."""
        self._reasoning += num_reasoning_tokens
        self._completion += ended.timings.predicted_n
        if index % self._per_prompt == 0:
            self._prompt += ended.num_prompt_tokens
            self._cached += ended.timings.cache_n

    def to_json(self) -> dict[str, Any]:
        """The `usage` object."""
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": self._completion,
            "total_tokens": self._prompt + self._completion,
            "prompt_tokens_details": {"cached_tokens": self._cached},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning},
        }
