"""Reuse of cells behind an edit: chunks that a slot holds and a prompt has at other positions.

    slot:   | prefix | old | chunk ......... | other |
    prompt: | prefix | chunk ......... | new |

The chunk's cells move forward over the tokens that are gone. They were computed after other
tokens, so the result is an approximation. It is only done for requests that ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.kv_cache.prefix_index import common_prefix_length

BLOCK = 16
"""How many tokens are compared at once."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Once `gaps` are dropped, one after the other, the cells hold the first `length` tokens of the
    prompt."""

    gaps: tuple[tuple[int, int], ...]
    """Ranges [start, stop) of positions. Each counts from where cells lie once the gaps before it
    are closed."""
    length: int


def find_chunks(held: list[int], tokens: list[int], prefix: int, shortest: int) -> Reuse:
    """Find chunks of at least `shortest` tokens that `held` has in the order of `tokens`.

    The first `prefix` tokens are equal. The last of `tokens` is never reused, because its logits
    are needed. The search takes linear time, so it may miss a chunk where a text repeats itself.
    """
    gaps: list[tuple[int, int]] = []
    limit = len(tokens) - 1
    done = cell = at = prefix  # `cell` moves to position `done`; `at` is under comparison
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
    """How many tokens are equal, of `held` from `at` on and of `tokens` from `done` on."""
    count = 0
    while True:
        a = held[at + count : at + count + BLOCK]
        b = tokens[done + count : done + count + BLOCK]
        equal = common_prefix_length(a, b, min(len(a), len(b)))
        count += equal
        if equal < BLOCK:
            return count
