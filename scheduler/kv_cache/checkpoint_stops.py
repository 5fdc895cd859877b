"""Where a prompt stops for a checkpoint, so that later prompts can part from it there. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.kv_cache.host_cache import MIN_TOKENS

TAIL = 4
"""The last checkpoint lies this far before a prompt's end: the last token is always computed, and
the tokens before it may be others when the answer follows."""

MAX_PARTINGS = 8
"""Each stop is a step more, so a prompt stops at no more places where others part."""

LONG = 256
"""A prompt with so many tokens to compute gets checkpoints further before its end too."""

NEAR_TOKENS = 32
NEAR_SHARE = 16
"""Such checkpoints lie `NEAR_TOKENS` and a sixteenth of the prompt before its end: a prompt that
ends otherwise computes little more than what is its own."""


def checkpoint_stops(
    num_tokens: int, start: int, partings: Iterable[int], step: int, spacing: int
) -> list[int]:
    """Positions in rising order at which a prompt of `num_tokens`, of which `start` are computed,
    should stop.

    `partings` are positions where other prompts part from this one, or are likely to. There is a
    stop every `step` tokens too, if that isn't 0. Stops that nobody asked for keep `spacing` tokens
    from others, and from `start`.
    """
    last = num_tokens - TAIL
    first = max(MIN_TOKENS, start + 1)
    wanted = sorted({min(position, last) for position in partings if position >= first})
    stops = [position for position in wanted[-MAX_PARTINGS:] if position >= first]
    count = num_tokens - start
    others = [last] if count >= max(MIN_TOKENS, spacing) else []
    if count >= LONG:
        others += [num_tokens - NEAR_TOKENS, num_tokens - count // NEAR_SHARE]
    if step:
        others += range(start + step, last, step)
    for position in others:
        if position >= first and all(abs(position - stop) >= spacing for stop in [start, *stops]):
            stops.append(position)
    return sorted(stops)
