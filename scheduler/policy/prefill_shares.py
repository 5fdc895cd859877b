"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from scheduler.batching.cost_model import StepCost
from scheduler.policy.prefill_budget import MEASURED_CHUNKS, MIN_CHUNK

BUDGET_OVERRUN = 0.3
"""Share of the budget by which a step may exceed it, if that finishes all prompts. A rest of a few
tokens would delay the answers once more."""

Key = TypeVar("Key")


MAX_LOSS = 0.3
"""Share by which a token may cost more in the smallest chunk than in the best one."""


def smallest_share(cost: StepCost | None) -> int:
    """The smallest chunk of a prompt that is worth a pass, by what chunks were measured to cost.

    On CPUs 64 rows cost as much a row as 512 rows. An H100 takes 12 ms for 64 rows of an 8B model,
    and 52 ms for 512.
    """
    if cost is None:
        return MIN_CHUNK
    rates = {rows: cost.prompt_seconds(rows) / rows for rows in MEASURED_CHUNKS}
    best = min(rates.values())
    return next(rows for rows, rate in rates.items() if rate <= (1 + MAX_LOSS) * best)


def share_out(
    wanted: Mapping[Key, int], budget: int, most: int, smallest: int = MIN_CHUNK
) -> dict[Key, int]:
    """How many tokens of each prompt the step computes; prompts that get none are missing.

    `wanted` are the tokens left of each prompt, in order of service. The shares add up to at most
    `budget`. If a little more finishes every prompt that gets a share, they may exceed it, but
    never `most`.

    Shares are equal, but no smaller than `smallest`, unless a prompt wants less. llama.cpp
    computes prompts together only if their slots are neighbours. Otherwise a little of each takes
    longer than as many tokens of one. A prompt that gets nothing should come first next time.
    """
    chosen = _first_in_budget(wanted, budget, smallest)
    total = sum(wanted[key] for key in chosen)
    left = total if total <= min(budget * (1 + BUDGET_OVERRUN), most) else budget
    shares: dict[Key, int] = {}
    for index, key in enumerate(sorted(chosen, key=lambda key: wanted[key])):
        share = min(wanted[key], left // (len(chosen) - index))
        if share > 0:
            shares[key] = share
            left -= share
    return shares


def _first_in_budget(wanted: Mapping[Key, int], budget: int, smallest: int) -> list[Key]:
    """The first prompts, of which each can get a share of the budget that is large enough."""
    chosen: list[Key] = []
    reserved = 0
    for key, count in wanted.items():
        if reserved >= budget:
            break
        chosen.append(key)
        reserved += min(count, smallest)
    return chosen
