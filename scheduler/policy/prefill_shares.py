"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from scheduler.policy.prefill_budget import MIN_CHUNK

BUDGET_OVERRUN = 0.3
"""Share of the budget by which a step may exceed it, if that finishes all prompts. A rest of a few
tokens would delay the answers once more."""

Key = TypeVar("Key")


def share_out(wanted: Mapping[Key, int], budget: int, most: int) -> dict[Key, int]:
    """How many tokens of each prompt the step computes; prompts that get none are missing.

    `wanted` are the tokens left of each prompt, in order of service. The shares add up to at most
    `budget`. If a little more finishes every prompt that gets a share, they may exceed it, but
    never `most`.

    Shares are equal, but no smaller than `MIN_CHUNK`, unless a prompt wants less. llama.cpp
    computes prompts together only if their slots are neighbours. Otherwise a little of each takes
    longer than as many tokens of one. A prompt that gets nothing should come first next time.
    """
    chosen = _first_in_budget(wanted, budget)
    total = sum(wanted[key] for key in chosen)
    left = total if total <= min(budget * (1 + BUDGET_OVERRUN), most) else budget
    shares: dict[Key, int] = {}
    for index, key in enumerate(sorted(chosen, key=lambda key: wanted[key])):
        share = min(wanted[key], left // (len(chosen) - index))
        if share > 0:
            shares[key] = share
            left -= share
    return shares


def _first_in_budget(wanted: Mapping[Key, int], budget: int) -> list[Key]:
    """The first prompts, of which each can get a share of the budget that is large enough."""
    chosen: list[Key] = []
    reserved = 0
    for key, count in wanted.items():
        if reserved >= budget:
            break
        chosen.append(key)
        reserved += min(count, MIN_CHUNK)
    return chosen
