"""How much of each prompt a step computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from scheduler.policy.prefill_budget import MIN_CHUNK

STRETCH = 0.3
"""Share by which a step's prefill may be exceeded where prompts are done with it then: a rest of a
few tokens would hold up the answers once more."""

Key = TypeVar("Key")


def share_out(wanted: Mapping[Key, int], budget: int, most: int) -> dict[Key, int]:
    """Tokens for each prompt that gets some, of `budget` together, or a little more but not more
    than `most`; `wanted` are the tokens left of each, in the order in which it is their turn.

    The shares are equal, but not smaller than `MIN_CHUNK` or what is wanted: llama.cpp computes
    prompts together only where their slots are neighbours, and a little of each takes longer than
    as much of one. Who gets nothing is first at the next step.
    """
    at_turn = _at_turn(wanted, budget)
    total = sum(wanted[key] for key in at_turn)
    left = total if total <= min(budget * (1 + STRETCH), most) else budget
    shares: dict[Key, int] = {}
    for index, key in enumerate(sorted(at_turn, key=lambda key: wanted[key])):
        share = min(wanted[key], left // (len(at_turn) - index))
        if share > 0:
            shares[key] = share
            left -= share
    return shares


def _at_turn(wanted: Mapping[Key, int], budget: int) -> list[Key]:
    """The first ones, as many as the budget has shares for."""
    at_turn: list[Key] = []
    reserved = 0
    for key, count in wanted.items():
        if reserved >= budget:
            break
        at_turn.append(key)
        reserved += min(count, MIN_CHUNK)
    return at_turn
