"""What an answer took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stats:
    """Numbers of one answer, as far as the server has told them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompt that were in the cache."""
    answer_tokens: int = 0
    prompt_per_second: float = 0.0
    answer_per_second: float = 0.0
    first_seconds: float = 0.0
    """Seconds until the first piece, as seen here."""
    seconds: float = 0.0

    def line(self) -> str:
        """One line for people."""
        cached = f" ({self.cached_tokens:,} cached)" if self.cached_tokens else ""
        return (
            f"{self.prompt_tokens:,} tokens of prompt{cached} at {self.prompt_per_second:,.1f}/s, "
            f"{self.answer_tokens:,} of answer at {self.answer_per_second:,.1f}/s, first after "
            f"{self.first_seconds:.2f} s, all in {self.seconds:.2f} s"
        )


def stats_of(chunk: Mapping[str, Any], first_seconds: float, seconds: float) -> Stats:
    """The numbers in the chunk that ends an answer."""
    usage, timings = chunk.get("usage") or {}, chunk.get("timings") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Stats(
        prompt_tokens=_whole(usage.get("prompt_tokens")),
        cached_tokens=_whole(details.get("cached_tokens")),
        answer_tokens=_whole(usage.get("completion_tokens")),
        prompt_per_second=_number(timings.get("prompt_per_second")),
        answer_per_second=_number(timings.get("predicted_per_second")),
        first_seconds=first_seconds,
        seconds=seconds,
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
