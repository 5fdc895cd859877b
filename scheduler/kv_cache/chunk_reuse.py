"""What of a slot's cells can be moved to where a prompt has the same tokens, after an edit.

    slot:   | prefix | old | chunk ......... | other |
    prompt: | prefix | chunk ......... | new |

The chunk's cells move forward over what is gone. They were computed after other tokens, so this
is an approximation, and only done for those who ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.kv_cache.prefix_index import common_prefix_length

BLOCK = 16
"""Tokens that are compared at once."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Drop `gaps`, one after the other, and `length` tokens of the prompt are in the cells."""

    gaps: tuple[tuple[int, int], ...]
    """Ranges of positions, each as it is after the gaps before it were closed."""
    length: int


def find_chunks(held: list[int], tokens: list[int], prefix: int, shortest: int) -> Reuse:
    """Chunks of at least `shortest` tokens that `held` has in the order of `tokens`.

    The first `prefix` tokens are equal; the last of `tokens` is never reused, because its logits
    are needed. The time is linear: where a text repeats itself a chunk may be missed.
    """
    gaps: list[tuple[int, int]] = []
    limit = len(tokens) - 1
    done = cell = at = prefix  # `cell` becomes position `done`, `at` is what is looked at
    while at < len(held) and done + shortest <= limit:
        run = _run(held, at, tokens, done) if held[at] == tokens[done] else 0
        if run < shortest:
            at += run if run >= BLOCK else 1
            continue
        if at > cell:
            gaps.append((done, done + at - cell))
        run = min(run, limit - done)
        done += run
        cell = at = at + run
    return Reuse(tuple(gaps), done)


def _run(held: list[int], at: int, tokens: list[int], done: int) -> int:
    """How many tokens are equal from there on."""
    count = 0
    while True:
        a = held[at + count : at + count + BLOCK]
        b = tokens[done + count : done + count + BLOCK]
        equal = common_prefix_length(a, b, min(len(a), len(b)))
        count += equal
        if equal < BLOCK:
            return count
