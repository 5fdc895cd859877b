"""The counts and the end of a message, in Anthropic's words."""

from __future__ import annotations

from typing import Any

from server.generation.types import Ended, StopCause


def input_usage(num_prompt: int, num_cached: int, *, marks_cache: bool) -> dict[str, int]:
    """The prompt's tokens. Cached ones are counted apart.

    Every computed token is in the cache afterwards. `marks_cache` is whether the request asks for
    that with `cache_control`; then the computed tokens count as written to the cache.
    """
    computed = num_prompt - num_cached
    return {
        "input_tokens": 0 if marks_cache else computed,
        "cache_creation_input_tokens": computed if marks_cache else 0,
        "cache_read_input_tokens": num_cached,
    }


def output_usage(num_tokens: int, num_thinking: int) -> dict[str, Any]:
    """The answer's tokens, and those of its thinking."""
    return {
        "output_tokens": num_tokens,
        "output_tokens_details": {"thinking_tokens": num_thinking},
    }


def stop_fields(ended: Ended, *, called: bool) -> dict[str, str | None]:
    """Why the answer ended."""
    reason, word = "tool_use" if called else "end_turn", None
    if ended.cause is StopCause.LIMIT:
        reason = "model_context_window_exceeded" if ended.truncated else "max_tokens"
    elif ended.cause is StopCause.WORD:
        reason, word = "stop_sequence", ended.stopping_word
    return {"stop_reason": reason, "stop_sequence": word}
