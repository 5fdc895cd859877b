"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from scheduler.batching.cost_model import StepCost
from scheduler.policy.prefill_budget import MEASURED_CHUNKS, MIN_CHUNK

BUDGET_OVERRUN = 0.3
"""Share of the budget by which a step may exceed it, if that finishes a prompt. A rest of a few
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
    wanted: Mapping[Key, int], budget: int, most: int, at_once: int, smallest: int = MIN_CHUNK
) -> dict[Key, int]:
    """How many tokens of each prompt the step computes; prompts that get none are missing.

    `wanted` are the tokens left of each prompt, in order of service. The shares add up to at most
    `budget`. If a little more finishes the last prompt that gets a share, they may exceed it, but
    never `most`.

    A prompt gets what it wants before the next one gets anything. If each got a little, all would
    have their first token when the last one has it. For the same reason a step takes up further
    prompts only as long as it has no more than `at_once` rows, which are computed at once: those
    beyond would delay the prompts that are done. A piece of a prompt that follows others has at
    least the `smallest` size: otherwise it takes longer than as many tokens of one.
    """
    shares: dict[Key, int] = {}
    total = 0
    for key, count in wanted.items():
        bound = min(most, at_once) if shares else most
        room = min(budget, bound) - total
        if room <= 0:
            break
        is_finished = total + count <= min(budget * (1 + BUDGET_OVERRUN), bound)
        share = count if is_finished else min(count, room)
        if share < min(count, smallest) and shares:
            continue
        shares[key] = share
        total += share
    return shares
