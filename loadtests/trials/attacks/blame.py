"""Requests that kill or hang the engine: they are found out, and nobody else pays for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadtests.trials.attacks.attack import NATIVE, Attack, Run, Setting, Target, completion
from loadtests.trials.attacks.poisoned import sitecustomize as poison

NUMBER = 3
_FOLDER = Path(poison.__file__).parent
POISONED = Setting(("--hang-timeout", "2"), wrapper=("env", f"PYTHONPATH={_FOLDER}"))

MOST_DEATHS = 4
"""Of the engine for each deadly request: it is blamed twice, after it ran among others twice."""

MOST_DEATHS_WITH_TOKENS = 25
"""Of the engine for a request that has new tokens between its deaths."""


def _deadly(seed: int, times: int = 1) -> Run:
    async def run(target: Target) -> None:
        body = completion(seed=seed, n_predict=400, ignore_eos=True)
        replies = await asyncio.gather(
            *(target.post(NATIVE, body, timeout_s=170.0) for _ in range(times))
        )
        target.claim(all(r.status >= 500 for r in replies), f"told {[r.status for r in replies]}")

    return run


def _attack(name: str, seed: int, times: int = 1, deaths: int = MOST_DEATHS) -> Attack:
    return Attack(
        NUMBER,
        name,
        _deadly(seed, times),
        POISONED,
        restarts=deaths * times,
        expected=frozenset({"500"}),
        is_outage=True,
    )


ATTACKS = (
    _attack("dies when it is added", poison.DIES_WHEN_ADDED),
    _attack("hangs when it is added", poison.HANGS_WHEN_ADDED),
    _attack("dies at its first step", poison.DIES_WHEN_RUN),
    _attack("dies after every few tokens", poison.DIES_LATER, deaths=MOST_DEATHS_WITH_TOKENS),
    _attack("three at once die when they are added", poison.DIES_WHEN_ADDED, 3),
)
