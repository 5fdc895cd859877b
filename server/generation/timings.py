"""Timings and prompt progress in llama-server's JSON shape, which every dialect carries."""

from __future__ import annotations

from typing import Any

from server.generation.types import CacheInfo, Progress, Timings


def timings_json(timings: Timings) -> dict[str, Any]:
    """The `timings` object. A rate over no time is 0. Drafts are left out if there were none.

    The times and rates of the answer leave out its first token: the prompt's step yields it.
    """
    num_timed = max(timings.predicted_n - 1, 0)
    shown: dict[str, Any] = {
        "cache_n": timings.cache_n,
        "prompt_n": timings.prompt_n,
        "prompt_ms": timings.prompt_ms,
        "prompt_per_token_ms": _ratio(timings.prompt_ms, timings.prompt_n),
        "prompt_per_second": _ratio(1000.0 * timings.prompt_n, timings.prompt_ms),
        "predicted_n": timings.predicted_n,
        "predicted_ms": timings.predicted_ms,
        "predicted_per_token_ms": _ratio(timings.predicted_ms, num_timed),
        "predicted_per_second": _ratio(1000.0 * num_timed, timings.predicted_ms),
    }
    if timings.draft_n:
        shown |= {"draft_n": timings.draft_n, "draft_n_accepted": timings.draft_n_accepted}
    if timings.cache is not None:
        shown["cache"] = _cache_json(timings.cache)
    return shown


def _cache_json(info: CacheInfo) -> dict[str, Any]:
    """What the cache had of the prompt. Tokens of other prompts are not shown."""
    lookup, parting = info.lookup, info.parting
    shown: dict[str, Any] = {
        "result": lookup.result.value,
        "from": lookup.tier.value if lookup.num_reused else None,
        "checkpoint": lookup.has_checkpoint,
        "reused": lookup.num_reused,
        "shared": lookup.num_shared,
    }
    if parting is not None:
        text = parting.piece.decode(errors="replace")
        shown["first_new"] = {"position": lookup.num_shared, "token": parting.id, "text": text}
    return shown


def progress_json(progress: Progress) -> dict[str, dict[str, Any]]:
    """The `prompt_progress` of an event, and the `timings` so far."""
    shown = {
        "total": progress.total,
        "cache": progress.cache,
        "processed": progress.processed,
        "time_ms": progress.time_ms,
    }
    computed = max(progress.processed - progress.cache, 0)
    timings = Timings(progress.cache, computed, progress.time_ms, 0, 0.0)
    return {"prompt_progress": shown, "timings": timings_json(timings)}


def _ratio(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else 0.0
